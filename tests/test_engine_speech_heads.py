"""Heads that were trained on a frozen wav2vec 2.0, behind its one pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.asr.decode import DecodeOptions
from streamer.config import ModelConfig
from streamer.engine import Engine, Request, load_engine
from streamer.errors import CheckpointError
from streamer.labels import Label
from streamer.nn.definition import EmotionHeadInfo, EmotionInfo, EncoderInfo, HeadInfo, TagsInfo
from streamer.nn.emotion import LayersHead, token_frames
from streamer.nn.emotion_checkpoint import save_emotion_head
from streamer.nn.head_checkpoint import save_head
from streamer.nn.heads import make_head
from streamer.training.tags.encoders import FrozenEncoder, load_encoder
from tests.test_engine_speech import noise
from tests.test_pipeline import Playback, conversation, run
from tests.tiny_speech import save_speech

pytestmark = pytest.mark.filterwarnings("ignore")

ENGLISH = DecodeOptions()
LABELS = (Label("Dog", "/m/0bt9lr"), Label("My doorbell", ""))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wav2vec2")
    save_speech(folder)
    return folder


@pytest.fixture(scope="module")
def frozen(speech: Path) -> FrozenEncoder:
    return load_encoder(speech)


def engine_of(folder: Path, **settings: str) -> Engine:
    return load_engine(ModelConfig.model_validate({"name": str(folder), "threads": 1, **settings}))


def save_tags(folder: Path, encoder: EncoderInfo) -> torch.nn.Module:
    torch.manual_seed(1)
    head = make_head("tl-tr", 2, 32, 2, None).eval()
    about = TagsInfo(head="tl-tr", window=1.6)
    save_head(folder, HeadInfo(name="door", encoder=encoder, tags=about), head, LABELS, "fp32")
    return head


def test_sounds_are_scored_as_in_training_beside_the_same_words(
    speech: Path, frozen: FrozenEncoder, tmp_path: Path
) -> None:
    head = save_tags(tmp_path / "door", frozen.info)
    engine, plain = engine_of(speech, tags=str(tmp_path / "door")), engine_of(speech)
    samples = noise(2.0)
    (result,) = engine.run([Request(samples, ENGLISH, windows=((0, 4), (3, 5)))])
    layers = torch.from_numpy(frozen.features([samples])).float()
    assert layers.shape == (1, 2, 5, 32)
    with torch.inference_mode():
        expected = torch.cat([head(layers[:, :, :4]), head(layers[:, :, 3:5])]).sigmoid()
    np.testing.assert_allclose(result.scores, expected, atol=2e-3)
    assert engine.encoder_passes == 1
    (without,) = plain.run([Request(samples, ENGLISH)])
    assert result.decoded is not None
    assert without.decoded is not None
    assert (result.decoded.tokens, result.words) == (without.decoded.tokens, without.words)
    # In a batch, a shorter clip's windows are its own.
    beside = engine.run([Request(noise(1.7, 1), ENGLISH), Request(samples, windows=((3, 5),))])
    np.testing.assert_allclose(beside[1].scores, result.scores[1:], atol=1e-4)


def test_an_encoder_without_words_hears_sounds(tmp_path: Path) -> None:
    save_speech(tmp_path / "bare", kind="Model")
    save_tags(tmp_path / "door", load_encoder(tmp_path / "bare").info)
    engine = engine_of(tmp_path / "bare", tags=str(tmp_path / "door"))
    assert not engine.writes
    types = {event.type for event in run([Playback([conversation()])], engine=engine)[0]}
    assert "sound.tags" in types
    assert "transcript.partial" not in types


def test_emotion_of_an_ended_utterance(speech: Path, frozen: FrozenEncoder, tmp_path: Path) -> None:
    torch.manual_seed(2)
    head = LayersHead(2, 32, 4, 2, "max").eval()
    about = EmotionInfo(labels=("anger", "joy"), width=4, pooling="max")
    save_emotion_head(tmp_path, EmotionHeadInfo(name="mine", encoder=frozen.info, emotion=about), head)
    engine = engine_of(speech, emotion=str(tmp_path))
    clips = [noise(1.3), noise(1.0, 1), noise(0.3, 2)]
    for clip in clips:
        padded = np.pad(clip, (0, max(0, 6400 - len(clip))))
        layers = torch.from_numpy(frozen.features([padded]))
        (result,) = engine.run([Request(clip, ENGLISH)])
        assert sum(result.emotion) == pytest.approx(1, abs=1e-5)
        if len(clip) >= 6400:  # of a shorter one its frames alone count, without silence behind them
            with torch.inference_mode():
                expected = head(token_frames(layers, [layers.shape[2]]))[0].softmax(-1)
            assert result.emotion == pytest.approx(expected.tolist(), abs=2e-3)


def test_a_head_of_another_encoder(speech: Path, frozen: FrozenEncoder, tmp_path: Path) -> None:
    save_tags(tmp_path / "other", frozen.info.model_copy(update={"fingerprint": "sha256:0"}))
    with pytest.raises(CheckpointError, match="door was trained on another encoder"):
        engine_of(speech, tags=str(tmp_path / "other"))
