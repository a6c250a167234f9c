"""What is personal in a text, and what only looks like it."""

from __future__ import annotations

import re

import pytest

from streamer.asr.edits import apply
from streamer.asr.personal import ADDRESS, NUMBER, ending_digits, personal, pieces


def shown(text: str) -> str:
    return apply(text, personal(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call five five five one two three four please", "call [number] please"),
        ("my card is 4111 1111 1111 1111.", "my card is [number]."),
        (
            "call 555-123-4567, or (555) 123 4567 or +44 20 7946 0958!",
            "call [number], or [number] or [number]!",
        ),
        ("it is 4, 1, 1, 1, 1, 1, 1, 1 exactly", "it is [number] exactly"),
        ("eight hundred five five five twelve thirty-four works", "[number] works"),
        ("double five one triple two three five yes", "[number] yes"),
        ("oh two oh uh seven nine four six dash oh nine five eight is it", "[number] is it"),
        ("555 - 1234 is it", "[number] is it"),
        ("number:4111111111111111 it is", "[number] it is"),
        ("it ends in five four three two one", "it ends in [number]"),
    ],
)
def test_numbers_are_masked(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "in nineteen eighty four we were two",
        "in nineteen hundred eighty four we were there",
        "since nineteen eighty four",
        "it costs 1,000,000 or $2,500,000.00 today",
        "12.50 13.20 and 14.30 is what they cost",
        "from 10:30 to 11:45 and 12:15",
        "two hundred and fifty of them",
        "one of the two, or three of four",
        "I have 3.5 of 100",
        "covid19 and 1st and b2b",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to john dot smith at example dot com today", "write to [e-mail] today"),
        ("it is john at example dot co dot uk.", "it is [e-mail]."),
        ("mail j o h n at g mail dot com", "mail [e-mail]"),
        ("mail mary one two nine at my dash site dot org now", "mail [e-mail] now"),
        ("Ann.B+c@ex.org is it", "[e-mail] is it"),
        ("John at example.com, he said", "[e-mail], he said"),
        ("mail ann@", "mail [e-mail]"),
        ("mail ann at example dot", "mail [e-mail]"),
    ],
)
def test_addresses_are_masked(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    "text", ["look at dot com", "we meet at ten in new york", "he is at home. Then he left", "@john said hi"]
)
def test_what_is_no_address_stays(text: str) -> None:
    assert shown(text) == text


def test_a_number_goes_on_with_what_the_text_before_ended_in() -> None:
    carried = ending_digits(pieces("my number is five five five"))
    assert carried == 3
    assert ending_digits(pieces("uh"), carried) == 3
    assert ending_digits(pieces("no"), carried) == 0
    text = "uh one two three four is it"
    assert apply(text, personal(text, carried=carried)) == f"uh {NUMBER} is it"
    assert apply(text, personal(text)) == text


def test_what_is_shown_says_nothing_of_what_was_masked() -> None:
    for text in ("a 4111 1111 1111 1111 b", "a x@y.z b"):
        assert not re.search(r"\d|@", shown(text))
    assert {shown("4111111111111111"), shown("x@y.z")} == {NUMBER, ADDRESS}
