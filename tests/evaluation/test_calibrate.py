"""Alignment heads: the one that follows the words is found among those that do not, and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamer.errors import CheckpointError, StreamerError
from streamer.evaluation.calibrate import Spoken, calibrate, hit_count, keep, known
from streamer.evaluation.sets import SpokenWord, Utterance
from streamer.nn.checkpoint import load
from streamer.nn.whisper import TextDecoder
from tests.cli.tiny import make_model, make_wav
from tests.tiny import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
WORDS = (SpokenWord("ab", 0.2, 0.6), SpokenWord("cd", 0.9, 1.2), SpokenWord("ef", 1.4, 1.9))
SPEECH = Spoken((0.1 * np.random.default_rng(0).standard_normal(32000)).astype(np.float32), WORDS)


def test_a_hit_is_a_peak_within_the_word() -> None:
    matrix = np.zeros((4, 100))
    matrix[[0, 1, 2], [20, 80, 80]] = 1.0
    assert hit_count(matrix, [0, 1, 2], WORDS) == 2  # 0.4 s is in the first, 1.6 s not in the second
    assert hit_count(matrix, [1, 0, 2], WORDS) == 1


def test_the_head_that_follows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One head of a decoder with random weights is made to look at each word while it is dictated."""
    step = TextDecoder.step

    def follow(self: TextDecoder, tokens: torch.Tensor, cache: Any) -> tuple[torch.Tensor, torch.Tensor]:
        logits, weights = step(self, tokens, cache)
        generator = torch.Generator().manual_seed(1)
        weights = torch.rand(weights.shape, generator=generator)
        for row in range(weights.shape[3]):
            # Two tokens of the start, then a space and two letters for each word.
            word = WORDS[min(max(row - 1, 0) // 3, len(WORDS) - 1)]
            middle = round(25 * (word.start + word.end))
            weights[0, 1, 0, row, middle - 4 : middle + 5] += 5
        return logits, weights / weights.sum(-1, keepdim=True)

    monkeypatch.setattr(TextDecoder, "step", follow)
    found = calibrate(tiny_model(), TOKENIZER, [SPEECH] * 2)
    assert found.heads[0] == (1, 0)
    assert found.rates[1, 0] == found.rates.max() == found.rate == 1.0
    assert found.words == 6


def test_without_words_there_is_nothing_to_find() -> None:
    with pytest.raises(StreamerError, match="found no word"):
        calibrate(tiny_model(), TOKENIZER, [Spoken(SPEECH.samples, ())])


def test_what_does_not_fit_is_refused() -> None:
    long = Spoken(np.zeros(31 * 16000, np.float32), WORDS)
    with pytest.raises(StreamerError, match="at most 30 s"):
        calibrate(tiny_model(), TOKENIZER, [long])


def test_times_come_from_the_set_or_from_the_branch(tmp_path: Path) -> None:
    path = make_wav(tmp_path / "a.wav", 0.2, 1.0)
    model = tiny_model()
    (own,) = known(model, TOKENIZER, [Utterance(path, "ab cd ef", "", "", WORDS)])
    assert own.words == WORDS
    for one in known(model, TOKENIZER, [Utterance(path, "ab", "", "", ())]):
        assert all(0 <= word.start <= word.end <= 1.3 for word in one.words)
    with pytest.raises(StreamerError, match="no CTC branch"):
        list(known(replace(model, ctc=None), TOKENIZER, [Utterance(path, "ab", "", "", ())]))


def test_the_heads_are_kept_and_used(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    keep(folder, [(1, 0)])
    assert load(folder).model.alignment_heads == [(1, 0)]
    with pytest.raises(CheckpointError, match=r"model\.toml"):
        keep(tmp_path, [(1, 0)])
