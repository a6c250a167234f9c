"""The search without a network: over a small language in which every text can be counted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from streamer.asr.beam import Beam, Candidate, Choice

LETTERS, LONGEST = 3, 4
END = LETTERS


def language(seed: int) -> dict[tuple[int, ...], list[float]]:
    """Log-probability of every token, the end being the last, after every text; the longest ones must end."""
    rng = np.random.default_rng(seed)
    found = {}
    for length in range(LONGEST + 1):
        for text in itertools.product(range(LETTERS), repeat=length):
            odds = rng.exponential(size=LETTERS + 1) + 1e-3
            odds[END] *= 0.3
            if length == LONGEST:
                odds[:END] = 0
            with np.errstate(divide="ignore"):
                found[text] = np.log(odds / odds.sum()).tolist()
    return found


def search(known: dict[tuple[int, ...], list[float]], beam: Beam) -> Candidate:
    for _ in range(LONGEST + 1):
        before = beam.live
        rows = beam.grow([[Choice(t, x, x) for t, x in enumerate(known[text.tokens])] for text in before])
        assert [before[row].tokens for row in rows] == [text.tokens[:-1] for text in beam.live]
        if beam.done:
            break
    return beam.best()


def texts(known: dict[tuple[int, ...], list[float]]) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every text that ends, and its score."""
    for text in known:
        yield text, sum(known[text[:i]][token] for i, token in enumerate((*text, END)))


@pytest.mark.parametrize("seed", range(4))
def test_one_text_is_the_likeliest_token_each_time(seed: int) -> None:
    known, text = language(seed), tuple[int, ...]()
    while (token := int(np.argmax(known[text]))) != END:
        text = (*text, token)
    found = search(known, Beam(1, END))
    assert found.tokens == text
    assert found.score == pytest.approx(sum(found.logprobs) + (found.end or 0.0))


@pytest.mark.parametrize("penalty", [None, 0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_one_that_is_wide_and_patient_finds_the_best_of_all(seed: int, penalty: float | None) -> None:
    known = language(seed)

    def rank(text: tuple[int, ...], score: float) -> float:
        if penalty is None:
            return score / max(1, len(text))
        return score / float(((5 + len(text)) / 6) ** penalty)

    best = max(texts(known), key=lambda one: rank(*one))
    found = search(known, Beam(len(known), END, 1.0, penalty))
    assert found.tokens == best[0]
    assert found.score == pytest.approx(best[1])
    assert found.end is not None


def test_patience_waits_for_more_texts_to_finish() -> None:
    known = language(1)
    hasty, patient = Beam(2, END, 0.5), Beam(2, END, 3.0)
    search(known, hasty)
    search(known, patient)
    assert len(hasty.finished) < len(patient.finished) <= 6


def test_what_repeats_itself_is_not_gone_on_with_unless_nothing_else_is_there() -> None:
    def repeats(tokens: Sequence[int]) -> bool:
        return len(tokens) > 1 and tokens[-1] == tokens[-2]

    known = language(2)
    beam = Beam(8, END, 1.0, 0.0, repeats)
    search(known, beam)
    assert beam.finished
    assert not any(repeats(text.tokens[:n]) for text in beam.finished for n in range(len(text.tokens) + 1))
    stuck = Beam(2, END, repeats=repeats)
    for _ in range(2):
        stuck.grow([[Choice(0, 0.0, 0.0), Choice(END, -math.inf, -math.inf)]] * len(stuck.live))
    assert stuck.done
    assert stuck.best().tokens == (0, 0)


def test_what_no_rule_allows_is_never_taken_up() -> None:
    beam = Beam(3, END)
    beam.grow([[Choice(0, -1.0, -1.0), Choice(1, -math.inf, -math.inf), Choice(END, -math.inf, -math.inf)]])
    assert [text.tokens for text in beam.live] == [(0,)]
    assert not beam.finished
