"""What a text explains of what was heard, against torch's CTC loss, and what follows from its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.asr.evidence import BLANK, Evidence, weigh

FAST = settings(max_examples=40, deadline=None)


def heard(frames: int, seed: int, silence: float = 2.0) -> NDArray[np.float32]:
    """(frames, 1 + 8) log-probabilities of somebody unclear, who says more the less `silence` there is."""
    values = 3 * torch.randn(frames, 9, generator=torch.Generator().manual_seed(seed))
    values[:, BLANK] += silence
    return values.log_softmax(-1).numpy()


def said(path: list[int], sure: float = 12.0) -> NDArray[np.float32]:
    """(T, 1 + 8) log-probabilities of a path that is heard clearly."""
    values = torch.zeros(len(path), 9)
    values[torch.arange(len(path)), torch.tensor(path)] = sure
    return values.log_softmax(-1).numpy()


@FAST
@given(st.integers(0, 1000), st.lists(st.integers(0, 7), min_size=1, max_size=6))
def test_against_torchs_loss(seed: int, tokens: list[int]) -> None:
    """Equal letters in a row included, and with silences, of which one frame is enough."""
    values = np.concatenate([heard(9, seed), said([BLANK] * 7), heard(9, seed + 1)])
    loss = torch.nn.functional.ctc_loss(
        torch.from_numpy(values)[:, None].double(),
        torch.tensor([[token + 1 for token in tokens]]),
        torch.tensor([len(values)]),
        torch.tensor([len(tokens)]),
        reduction="sum",
    )
    blank = values[:, BLANK].astype(np.float64)
    got = weigh(values, tokens)
    assert got.gain == pytest.approx(-float(loss) - blank.sum(), abs=0.1)
    assert got.heard == pytest.approx((1 - np.exp(blank)).sum(), rel=0.01)
    assert got.explained == pytest.approx(got.gain / got.heard)


def test_a_text_that_cannot_be_there_explains_nothing() -> None:
    # Two equal letters need a frame between them.
    assert weigh(heard(2, 0), [3, 3]).explained == -np.inf


def test_nothing_heard_or_written() -> None:
    assert weigh(said([BLANK] * 5), [1]) == Evidence(0.0, 0.0)
    assert weigh(said([BLANK] * 5), [1]).explained == 0.0
    assert weigh(heard(5, 0), []).gain == 0.0


@FAST
@given(st.lists(st.integers(1, 8), min_size=1, max_size=8), st.integers(0, 30))
def test_silence_around_a_text_changes_nothing(path: list[int], length: int) -> None:
    path = [piece for one in path for piece in (one, BLANK)]
    tokens = [piece - 1 for piece in path if piece]
    alone = weigh(said(path), tokens)
    later = weigh(said([BLANK] * length + path + [BLANK] * length), tokens)
    assert later.gain == pytest.approx(alone.gain, abs=0.1)
    assert later.heard == pytest.approx(alone.heard, abs=0.1)


@FAST
@given(st.integers(0, 1000))
def test_words_explain_what_is_heard_and_few_letters_over_noise_do_not(seed: int) -> None:
    path = [BLANK, 3, BLANK, 1, 4, BLANK, BLANK, 5]
    clear = weigh(said(path), [2, 0, 3, 4]).explained
    assert clear > weigh(said(path), [2, 0]).explained > weigh(said(path), [2]).explained
    # Something everywhere, nothing in particular: one letter, the best there is, says little about it.
    noise = heard(60, seed)
    assert clear / 3 > max(weigh(noise, [piece]).explained for piece in range(8))
