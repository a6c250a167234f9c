"""What judges emotion, a checkpoint's own head or one on a Whisper, through the whole daemon's threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from streamer.asr.decode import DecodeOptions
from streamer.config import ModelConfig
from streamer.engine import Engine, Request, load_engine
from streamer.errors import CheckpointError
from streamer.events import Emotion, Event, TranscriptFinal
from streamer.nn.definition import EmotionHeadInfo, EmotionInfo
from streamer.nn.emotion import EmotionHead, LayersHead, token_frames
from streamer.nn.emotion_checkpoint import save_emotion_head
from streamer.nn.head_checkpoint import encoder_info
from streamer.training.tags.encoders import of_whisper
from tests.cli.tiny import make_model
from tests.test_engine_speech import noise
from tests.test_pipeline import KEPT, Playback, conversation, essence, run
from tests.tiny import tiny_model, tiny_tokenizer
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


def layers_head(pooling: str = "mean") -> LayersHead:
    torch.manual_seed(3)
    head = LayersHead(2, 64, 8, 3, pooling).eval()
    torch.nn.init.normal_(head.layer_weights)
    head.mean.normal_()
    return head


def whisper(head: LayersHead | None) -> Engine:
    emotion = EmotionHead(head, ("anger", "joy", "neutral"), "classes") if head is not None else None
    return Engine(replace(tiny_model(), emotion=emotion), tiny_tokenizer())


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_head_on_a_whisper_reads_the_one_pass(pooling: str) -> None:
    """It judges what it would in training, and everything else is as without it."""
    head = layers_head(pooling)
    engine, plain = whisper(head), whisper(None)
    events, without = events_of(engine), events_of(plain)
    assert engine.encoder_passes == plain.encoder_passes
    emotions = [event for event in events if isinstance(event, Emotion)]
    finals = [event for event in events if isinstance(event, TranscriptFinal)]
    assert len(emotions) == len(finals) >= 2
    wanted = (*KEPT, "transcript.partial")
    assert essence(events, wanted) == essence(without, wanted)
    frozen = of_whisper(tiny_model().model, "tiny", short=True, precision="fp32")
    audio = conversation()
    for final, emotion in zip(finals, emotions, strict=True):
        assert final.seq < emotion.seq
        assert (final.utterance, final.start, final.end) == (emotion.utterance, emotion.start, emotion.end)
        layers = frozen.features([audio[round(final.start * 16000) : round(final.end * 16000)]])
        with torch.inference_mode():
            expected = head(token_frames(torch.from_numpy(layers), [layers.shape[2]]))[0].softmax(-1)
        assert list(emotion.scores.values()) == pytest.approx(expected.tolist(), abs=2e-3)


def test_only_ended_utterances_are_judged_and_short_ones_too() -> None:
    engine = whisper(layers_head())
    short, long = noise(0.2, 0), noise(1.4, 1)
    options = DecodeOptions()
    results = engine.run([Request(short, options), Request(long, replace(options, ended=False))])
    assert sum(results[0].emotion) == pytest.approx(1)
    assert results[1].emotion == ()
    (alone,) = engine.run([Request(long, options)])
    (beside, _) = engine.run([Request(long, options), Request(short, options)])
    assert beside.emotion == pytest.approx(alone.emotion, abs=1e-5)


def test_the_settings_name_a_head_of_the_models_own_encoder(tmp_path: Path) -> None:
    model = make_model(tmp_path / "noise")
    plain = load_engine(ModelConfig(name=str(model), threads=1, precision="fp32"))
    about = EmotionInfo(labels=("anger", "joy", "neutral"), width=8)
    for name, other in (("mine", plain.model.model), ("others", tiny_model().model)):  # type: ignore[union-attr]
        info = EmotionHeadInfo(name=name, encoder=encoder_info("x", other), emotion=about)
        save_emotion_head(tmp_path / name, info, layers_head())
    engine = load_engine(ModelConfig(name=str(model), emotion=str(tmp_path / "mine"), threads=1))
    assert len(engine.run([Request(noise(1.0, 0), DecodeOptions())])[0].emotion) == 3
    with pytest.raises(CheckpointError, match=r"others was trained on another encoder.*2 layers of 64"):
        load_engine(ModelConfig(name=str(model), emotion=str(tmp_path / "others"), threads=1))
