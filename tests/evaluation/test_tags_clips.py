"""Whole recordings through the engine: in pieces, in batches, and still one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamer.engine import Engine, Request
from streamer.errors import ConfigError
from streamer.evaluation.tags_clips import score_recordings, views
from streamer.timebase import SAMPLE_RATE, TOKEN
from tests.evaluation.recordings import noise, recording
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(tiny_model(), tiny_tokenizer())


@pytest.mark.parametrize("seconds", [0.01, 0.8, 1.0, 3.9, 4.0, 4.1, 11.3])
def test_views_hold_everything_and_overlap(seconds: float) -> None:
    audio, window = noise(seconds), 4 * SAMPLE_RATE
    pieces = views(audio, window)
    assert all(2 * TOKEN <= len(piece) <= window and len(piece) % TOKEN == 0 for piece in pieces)
    padded = np.pad(audio, (0, max(2 * TOKEN, -(-len(audio) // TOKEN) * TOKEN) - len(audio)))
    np.testing.assert_array_equal(pieces[0], padded[:window])
    np.testing.assert_array_equal(pieces[-1], padded[-window:])
    assert len(pieces) == (1 if len(padded) <= window else -(-(len(padded) - window) // (window // 2)) + 1)


def test_batches_give_what_single_passes_give(engine: Engine) -> None:
    clips = [recording(str(i), noise(seconds, i)) for i, seconds in enumerate((0.5, 1.7, 5.0, 1.2, 0.9, 4.1))]
    got = list(score_recordings(engine, clips, 4.0))
    assert len(got) == len(clips)
    for clip, scores in zip(clips, got, strict=True):
        alone = [
            engine.run([Request(piece, windows=((0, len(piece) // TOKEN),))])[0].scores[0]
            for piece in views(clip.load(), 4 * SAMPLE_RATE)
        ]
        np.testing.assert_allclose(scores, np.mean(alone, axis=0), atol=1e-5)


def test_recordings_are_loaded_as_they_are_needed(engine: Engine) -> None:
    loaded = 0

    def clips() -> object:
        nonlocal loaded
        for i in range(40):
            loaded += 1
            yield recording(str(i), noise(1.0, i))

    next(score_recordings(engine, clips(), 4.0))  # type: ignore[arg-type]
    assert loaded < 20


def test_a_model_without_a_head_has_nothing_to_measure() -> None:
    model = replace(tiny_model(), tags=None)
    with pytest.raises(ConfigError, match="no tag head"):
        list(score_recordings(Engine(model, tiny_tokenizer()), [recording("a", noise(1.0))], 4.0))
