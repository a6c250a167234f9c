"""Edits of growing texts: stable text stays, nothing masked leaks, and the end is as if edited at once."""

from __future__ import annotations

from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.asr.edits import Editor
from streamer.asr.personal import OPEN_DIGITS
from streamer.asr.words import TimedWord
from streamer.config import TextConfig

ALL = TextConfig(
    replacements={"New York": "NYC", "stream er": "streamer", "um": "", "new line": "\n"},
    profanity=["damn", "hell"],
    personal=True,
)
DIGITS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "zero"]
OTHERS = ["at", "dot", "com", "john", "new", "york", "line", "damn", "hello", "hell", "stream", "er", "um"]
OTHERS += ["uh", "and", "we", "a"]


def final(text: str, config: TextConfig = ALL) -> str:
    return Editor(config).final(text)[0]


def timed(text: str) -> list[TimedWord]:
    return [TimedWord(word, 10 * i, 10 * i + 8, 0.9 - 0.01 * i) for i, word in enumerate(text.split())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("new york and New  York, not newyork or new yorker", "NYC and NYC, not newyork or new yorker"),
        ("um so um we um", "so we"),
        ("dear all new line hello", "dear all \n hello"),
        ("Damn! What the hell, damned", "D***! What the h***, damned"),
        ("call 555 123 4567 in new york", "call [number] in NYC"),
    ],
)  # fmt: skip
def test_edits(text: str, expected: str) -> None:
    assert final(text) == expected


def test_without_settings_nothing_changes() -> None:
    editor = Editor(TextConfig())
    text, words = "damn  4111 1111 1111 1111 a@b.c", timed("damn 4111 1111 1111 1111 a@b.c")
    assert editor.partial(text, "damn  4111") == (text, "damn  4111")
    assert editor.final(text, words) == (text, words)


def test_the_built_in_list_masks_and_spares() -> None:
    assert (
        final("what the fuck about Scunthorpe", TextConfig(profanity=True))
        == "what the f*** about Scunthorpe"
    )


def test_of_two_phrases_the_longer_is_replaced_and_personal_data_first_of_all() -> None:
    config = TextConfig(replacements={"new": "old", "new york": "NYC", "five": "5"}, personal=True)
    assert final("new york is new", config) == "NYC is old"
    assert final("five five five five five five five or five of us", config) == "[number] or 5 of us"


def test_words_that_become_one_thing_are_one_word() -> None:
    text = "um call five five five one two three four in new york damn"
    shown, words = Editor(ALL).final(text, timed(text))
    assert shown == "call [number] in NYC d***"
    assert [w.text for w in words] == ["call", "[number]", "in", "NYC", "d***"]
    number = words[1]
    assert (number.start, number.end) == (20, 88)
    assert number.probability == pytest.approx(0.9 - 0.08)


def test_a_number_is_not_stable_before_it_is_known_to_be_one() -> None:
    editor = Editor(ALL)
    said = [
        editor.partial(text, text)
        for text in ("call five", "call five five five one", "call five five five one two three four so now")
    ]
    assert said[0] == ("call five", "")
    assert said[1] == ("call five five five one", "")
    assert said[2] == ("call [number] so now", "call [number] so")  # fmt: skip


def test_a_replaced_word_is_not_stable_before_it_is_whole() -> None:
    editor = Editor(TextConfig(replacements={"new york city": "NYC"}))
    assert editor.partial("in new york is", "in new york") == ("in new york is", "in")
    assert editor.partial("in new york is", "in new york is") == ("in new york is", "in new york is")
    other = Editor(TextConfig(replacements={"new york": "NYC"}))
    assert other.partial("go to new", "go to") == ("go to new", "go to")


def test_numbers_go_on_after_a_short_pause_only() -> None:
    for soon, expected in ((True, "[number] is it"), (False, "one two three four is it")):
        editor = Editor(ALL)
        editor.begin(soon=False)
        assert editor.final("it is five five five")[0] == "it is five five five"
        editor.begin(soon=soon)
        editor.final("")  # a cough
        editor.begin(soon=soon)
        assert editor.partial("one two three four", "one two") == ((expected.split(" is")[0]), "")
        assert editor.final("one two three four is it")[0] == expected


@st.composite
def utterances(draw: st.DrawFn) -> tuple[list[str], list[tuple[int, int, list[str]]]]:
    """Words; and for each partial how many are heard, how many of them stable, and what else it makes up."""
    word = st.sampled_from(DIGITS) | st.sampled_from(OTHERS)
    words = draw(st.lists(word, min_size=1, max_size=14))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(words)))
        words[at:at] = draw(st.lists(st.sampled_from(DIGITS), min_size=7, max_size=16))
    steps, stable = [], 0
    for heard in sorted(draw(st.sets(st.integers(1, len(words)), max_size=8))):
        stable = draw(st.integers(stable, heard))
        steps.append((heard, stable, draw(st.lists(st.sampled_from(OTHERS), max_size=2))))
    return words, steps


def longest_run(text: str) -> int:
    """Digits in a row, by counting words."""
    longest = run = 0
    for word in text.split():
        run = run + 1 if word in DIGITS else run if word in ("uh", "um", "and") else 0
        longest = max(longest, run)
    return longest


def last_run(text: str) -> int:
    """Digits that a text ends in."""
    words = text.split()
    return sum(1 for _ in takewhile(lambda word: word in DIGITS, reversed(words)))


@settings(max_examples=150, deadline=None)
@given(utterances())
def test_stable_text_stays_and_no_number_leaks(
    said: tuple[list[str], list[tuple[int, int, list[str]]]],
) -> None:
    words, steps = said
    editor, before = Editor(ALL), ""
    editor.begin(soon=False)
    for heard, sure, made_up in steps:
        shown, stable = editor.partial(" ".join([*words[:heard], *made_up]), " ".join(words[:sure]))
        assert stable.startswith(before)
        assert shown.startswith(stable)
        assert longest_run(shown) < 7
        assert last_run(shown) < OPEN_DIGITS
        before = stable
    text = " ".join(words)
    shown, timed_words = editor.final(text, timed(text))
    assert shown.startswith(before)
    assert shown == final(text)
    assert " ".join(word.text for word in timed_words).split() == shown.split()


@settings(max_examples=60, deadline=None)
@given(st.text("nNeEwW yorkdamn15@.-", max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_any_letters_in_any_portions(text: str, ends: list[int]) -> None:
    """Stable text that ends anywhere, in the middle of words too."""
    text = " ".join(text.split())
    editor, before = Editor(ALL), ""
    for end in sorted(ends):
        shown, stable = editor.partial(text, text[:end].rstrip())
        assert shown.startswith(stable)
        assert stable.startswith(before)
        before = stable
    shown, words = editor.final(text, timed(text))
    assert shown.startswith(before)
    assert " ".join(word.text for word in words).split() == shown.split()
