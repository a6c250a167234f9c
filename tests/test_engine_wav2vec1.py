"""Heads on a frozen wav2vec (v1), in the daemon: it writes nothing, it hears and judges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.asr.decode import DecodeOptions
from streamer.config import Config, ModelConfig
from streamer.engine import Engine, Request, load_engine
from streamer.errors import CheckpointError, ConfigError
from streamer.events import SoundTags, TranscriptFinal, TranscriptPartial
from streamer.nn.definition import EmotionHeadInfo, EmotionInfo, HeadInfo, TagsInfo
from streamer.nn.emotion import LayersHead, token_frames
from streamer.nn.emotion_checkpoint import save_emotion_head
from streamer.nn.head_checkpoint import load_head, save_head
from streamer.nn.heads import make_head
from streamer.nn.wav2vec1 import load_wav2vec
from streamer.timebase import TOKEN
from streamer.training.tags.encoders import FrozenEncoder, load_encoder
from tests.nn.test_wav2vec1 import SMALL, checkpoint
from tests.test_engine_speech import noise
from tests.test_engine_speech_heads import LABELS
from tests.test_pipeline import Playback, conversation, cut, random_sizes, run

WIDTH = 8


@pytest.fixture(scope="module")
def ears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wav2vec") / "ears1.pt"
    checkpoint(path, SMALL, WIDTH)
    return path


@pytest.fixture(scope="module")
def frozen(ears: Path) -> FrozenEncoder:
    return load_encoder(ears)


@pytest.fixture(scope="module")
def door(frozen: FrozenEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door")
    torch.manual_seed(1)
    head = make_head("tl-tr", 2, WIDTH, 2, None).eval()
    about = TagsInfo(head="tl-tr", window=1.6)
    save_head(folder, HeadInfo(name="door", encoder=frozen.info, tags=about), head, LABELS, "fp32")
    return folder


def engine_of(path: Path, **settings: str) -> Engine:
    return load_engine(ModelConfig.model_validate({"name": str(path), "threads": 1, **settings}))


def test_tokens_are_means_of_40_frames_of_both_layers(ears: Path, frozen: FrozenEncoder) -> None:
    samples = noise(2.0)
    with torch.inference_mode():
        z, c = load_wav2vec(ears).features(samples)
    tokens = frozen.features([samples])[0]
    assert tokens.shape == (2, 5, WIDTH)
    for layer, wanted in zip(tokens, (z, c), strict=True):
        for i, token in enumerate(layer):
            np.testing.assert_allclose(token, wanted[40 * i : 40 * (i + 1)].mean(0), atol=2e-3, rtol=2e-3)


def test_sounds_are_scored_as_in_training(ears: Path, frozen: FrozenEncoder, door: Path) -> None:
    engine = engine_of(ears, tags=str(door))
    samples = noise(2.0)
    (result,) = engine.run([Request(samples, windows=((0, 4), (1, 5)))])
    tokens = torch.from_numpy(frozen.features([samples])).float()
    head = load_head(door).head
    with torch.inference_mode():
        wanted = torch.cat([head(tokens[:, :, i : i + 4]) for i in (0, 1)]).sigmoid()
    np.testing.assert_allclose(result.scores, wanted, atol=2e-3)
    assert engine.encoder_passes == 1
    # In a batch, a shorter clip's windows are its own.
    beside = engine.run([Request(noise(1.7, 1), windows=((0, 4),)), Request(samples, windows=((1, 5),))])
    np.testing.assert_allclose(beside[1].scores, result.scores[1:], atol=1e-4)


def test_emotion_of_an_ended_utterance(ears: Path, frozen: FrozenEncoder, tmp_path: Path) -> None:
    torch.manual_seed(2)
    head = LayersHead(2, WIDTH, 4, 2, "mean").eval()
    about = EmotionInfo(labels=("anger", "joy"), width=4, pooling="mean")
    save_emotion_head(tmp_path, EmotionHeadInfo(name="mine", encoder=frozen.info, emotion=about), head)
    clip = noise(1.3)
    (result,) = engine_of(ears, emotion=str(tmp_path)).run([Request(clip, DecodeOptions())])
    tokens = torch.from_numpy(frozen.features([clip]))
    with torch.inference_mode():
        wanted = head(token_frames(tokens, [len(clip) // TOKEN]))[0].softmax(-1)
    assert result.emotion == pytest.approx(wanted.tolist(), abs=2e-3)


def test_a_stream_is_heard_and_nothing_is_written(ears: Path, door: Path) -> None:
    """The same sounds, however the audio arrives."""
    engine = engine_of(ears, tags=str(door))
    assert not engine.writes
    found = []
    for blocks in ([conversation()], cut(conversation(), random_sizes())):
        events = run([Playback(blocks)], Config(), engine)[0]
        assert not [e for e in events if isinstance(e, TranscriptPartial | TranscriptFinal) and e.text]
        found.append([(event.start, event.tags) for event in events if isinstance(event, SoundTags)])
    assert len(found[0]) > 2
    assert found[0] == found[1]


def test_what_it_cannot_do(ears: Path, frozen: FrozenEncoder, door: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no CTC branch"):
        engine_of(ears, decoder="ctc", tags=str(door))
    with pytest.raises(ConfigError, match="found ears1, an encoder with neither"):
        engine_of(ears)
    checkpoint(tmp_path / "other.pt", SMALL, 2 * WIDTH)
    with pytest.raises(CheckpointError, match="another encoder: expected that of ears1"):
        engine_of(tmp_path / "other.pt", tags=str(door))
