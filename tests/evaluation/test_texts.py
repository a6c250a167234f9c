from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import MissingExtraError
from streamer.evaluation.texts import Errors, character_errors, interval, normaliser, word_errors

pytest.importorskip("jiwer")

texts = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=7)


def distance(a: list[str], b: list[str]) -> int:
    """Levenshtein's recursion."""
    if not a or not b:
        return len(a) + len(b)
    same = distance(a[1:], b[1:]) + (a[0] != b[0])
    return min(same, distance(a[1:], b) + 1, distance(a, b[1:]) + 1)


@settings(max_examples=60, deadline=None)
@given(texts.map(lambda x: x[:5]), texts.map(lambda x: x[:5]))
def test_word_errors_are_levenshteins(reference: list[str], hypothesis: list[str]) -> None:
    found = word_errors(" ".join(reference), " ".join(hypothesis))
    assert found.total == distance(reference, hypothesis)
    assert found.length == len(reference)
    assert found.insertions - found.deletions == len(hypothesis) - len(reference)


@settings(max_examples=60, deadline=None)
@given(texts, texts)
def test_character_errors_of_equal_texts_are_none_and_blanks_count(a: list[str], b: list[str]) -> None:
    assert character_errors(" ".join(a), " ".join(a)).total == 0
    found = character_errors(" ".join(a), "".join(a))
    assert found.total == max(0, len(a) - 1) == found.deletions
    assert found.length == len(" ".join(a))
    assert character_errors(" ".join(a), " ".join(b)).total <= max(len(" ".join(a)), len(" ".join(b)))


def test_each_kind_of_error_is_counted_as_what_it_is() -> None:
    assert word_errors("a b c", "a x c d") == Errors(1, 0, 1, 3)
    assert word_errors("a b c", "c") == Errors(0, 2, 0, 3)
    assert sum([Errors(1, 0, 1, 3), Errors(0, 2, 0, 3)], Errors()).rate == pytest.approx(100 * 4 / 6)


def test_an_empty_reference() -> None:
    assert word_errors("", "").rate == 0
    assert word_errors("", "two words") == Errors(insertions=2)
    assert Errors(insertions=2).rate == 100


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=30))
def test_an_interval_lies_between_the_best_and_the_worst(drawn: list[tuple[int, int]]) -> None:
    errors = [Errors(substitutions=wrong, length=length) for wrong, length in drawn]
    low, high = interval(errors)
    rates = [one.rate for one in errors]
    assert min(rates) - 1e-9 <= low <= high <= max(rates) + 1e-9
    assert interval(errors) == (low, high)


def test_more_utterances_narrow_the_interval() -> None:
    few = [Errors(substitutions=i % 2, length=2) for i in range(10)]
    (low, high), (lower, higher) = interval(few * 40), interval(few)
    assert lower < low < 25 < high < higher


def test_normal_forms() -> None:
    pytest.importorskip("whisper.normalizers")
    assert normaliser()("Mr. Smith's colour, twenty-one!") == normaliser()("mister smith's color 21")
    assert normaliser("de")("Das kostet zwanzig Euro!") == "das kostet zwanzig euro "


@pytest.mark.parametrize(("package", "extra"), [("jiwer", "eval"), ("whisper.normalizers", "whisper")])
def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, package: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"streamer\[{extra}\]"):
        word_errors(normaliser()("a"), "a")
