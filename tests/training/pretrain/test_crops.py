"""Pieces of recordings, and what is hidden in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.training.corpus import Clip, Pack
from streamer.training.pretrain.crops import Crops, draw_mask, draw_others
from streamer.training.recordings import Utterance
from tests.training.tones import tone, write_wav


@settings(deadline=None)
@given(st.integers(11, 400), st.integers(1, 10), st.integers(0, 2**32))
def test_what_is_hidden_is_spans(frames: int, span: int, seed: int) -> None:
    mask = draw_mask(frames, 0.65, span, np.random.default_rng(seed))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    lengths = edges[1::2] - edges[::2]
    assert lengths.min() >= span
    assert mask.sum() >= 2


def test_the_published_setting_hides_half() -> None:
    rng = np.random.default_rng(0)
    share = np.mean([draw_mask(1500, 0.65, 10, rng).mean() for _ in range(50)])
    assert share == pytest.approx(0.49, abs=0.02)
    with pytest.raises(ValueError, match="more than 10 frames"):
        draw_mask(10, 0.65, 10, rng)


def test_others_are_all_the_others_alike() -> None:
    others = draw_others(5, 4000, np.random.default_rng(0))
    for own, row in enumerate(others):
        counts = np.bincount(row, minlength=5)
        assert counts[own] == 0
        assert np.delete(counts, own).min() > 800


@pytest.fixture
def utterances(tmp_path: Path) -> list[Utterance]:
    files = [write_wav(tmp_path / f"{i}.wav", tone(300, seconds)) for i, seconds in enumerate((0.3, 2.5))]
    pack = Pack(tmp_path / "pack").extend([Clip(str(i), str(file), "") for i, file in enumerate(files)])
    return [Utterance(str(i), None, "", "train", pack, i) for i in range(2)]


def test_long_recordings_are_seen_as_often_as_they_have_pieces(utterances: list[Utterance]) -> None:
    crops = Crops(utterances, 1.0)
    assert [len(crops[i].samples) for i in range(len(crops))] == [4800, 16000, 16000, 16000]
    assert crops.hours == pytest.approx(3.3 / 3600)


def test_pieces_come_from_torchs_generator_or_are_always_the_same(utterances: list[Utterance]) -> None:
    crops, fixed = Crops(utterances, 1.0), Crops(utterances, 1.0, fixed=True)
    torch.manual_seed(1)
    first, second = crops[1].samples, crops[1].samples
    assert not np.array_equal(first, second)
    torch.manual_seed(1)
    assert np.array_equal(crops[1].samples, first)
    assert np.array_equal(fixed[1].samples, fixed[1].samples)
    assert not np.array_equal(fixed[1].samples, fixed[2].samples)
