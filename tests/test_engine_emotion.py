"""Checkpoints that judge emotion, through the whole daemon's threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from streamer.asr.decode import DecodeOptions
from streamer.config import ModelConfig
from streamer.engine import Engine, Request, load_engine
from streamer.events import Emotion, Event, TranscriptFinal
from tests.test_engine_speech import noise
from tests.test_pipeline import Playback, conversation, run
from tests.tiny_speech import edit, save_speech

pytestmark = pytest.mark.filterwarnings("ignore")


def make(folder: Path, **config: Any) -> tuple[Engine, Any]:
    labels = {0: "anger", 1: "joy", 2: "neutral"}
    reference = save_speech(folder, "hubert", "ForSequenceClassification", id2label=labels)
    edit(folder / "config.json", **config)
    return load_engine(ModelConfig(name=str(folder), threads=1)), reference


def events_of(engine: Engine) -> list[Event]:
    return run([Playback([conversation()])], engine=engine)[0]


def test_every_utterance_is_judged_once_behind_its_final(tmp_path: Path) -> None:
    engine, reference = make(tmp_path)
    events = events_of(engine)
    audio = conversation()
    finals = [event for event in events if isinstance(event, TranscriptFinal)]
    emotions = [event for event in events if isinstance(event, Emotion)]
    assert [e.utterance for e in emotions] == [f.utterance for f in finals]
    assert len(finals) >= 2
    assert not any(final.text for final in finals)
    for final, emotion in zip(finals, emotions, strict=True):
        assert final.seq < emotion.seq
        assert (final.start, final.end) == (emotion.start, emotion.end)
        clip = audio[round(final.start * 16000) : round(final.end * 16000)]
        with torch.inference_mode():
            expected = reference(torch.from_numpy(clip)[None]).logits[0].softmax(-1).tolist()
        assert list(emotion.scores.values()) == pytest.approx(expected, abs=2e-4)
        assert emotion.scores[emotion.label] == max(emotion.scores.values())
    # One pass an utterance, and none for partials that nobody could read.
    assert engine.encoder_passes == len(finals)


def test_dimensions_have_values_and_no_label(tmp_path: Path) -> None:
    names = {"0": "arousal", "1": "dominance", "2": "valence"}
    engine, _ = make(tmp_path, problem_type="regression", id2label=names)
    emotions = [event for event in events_of(engine) if isinstance(event, Emotion)]
    assert emotions
    for emotion in emotions:
        assert (emotion.kind, emotion.label, [*emotion.scores]) == ("dimensions", "", [*names.values()])


def test_a_batch_is_judged_as_each_alone(tmp_path: Path) -> None:
    engine, _ = make(tmp_path)
    requests = [Request(noise(seconds, i), DecodeOptions()) for i, seconds in enumerate((1.5, 1.1, 1.6))]
    together = engine.run(requests)
    for request, result in zip(requests, together, strict=True):
        assert result.emotion == pytest.approx(engine.run([request])[0].emotion, abs=1e-5)
        assert result.decoded is not None
        assert (result.decoded.text, result.words) == ("", [])
