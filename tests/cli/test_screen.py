"""What people see of the events."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.cli.screen import Screen, clock


def partial(text: str, stable: str = "", stream: str = "a") -> dict[str, object]:
    return {"type": "transcript.partial", "stream": stream, "start": 1.0, "text": text, "stable": stable}


def final(text: str, stream: str = "a", start: float = 1.0) -> dict[str, object]:
    return {"type": "transcript.final", "stream": stream, "start": start, "text": text}


DOG = {"type": "sound.started", "stream": "a", "start": 62.34, "label": "Dog", "score": 0.812}
DOG_ENDED = {"type": "sound.stopped", "stream": "a", "start": 62.3, "end": 64.8, "label": "Dog", "peak": 0.9}


def test_elsewhere_than_on_a_terminal_only_what_stays_is_written() -> None:
    out = io.StringIO()
    screen = Screen(out)
    for event in (partial("hel"), final("hello"), DOG, DOG_ENDED, final(" "), {"type": "stats"}):
        screen.show(event)
    assert out.getvalue() == " 0:01.0  hello\n 1:02.3  [Dog] 81%\n 1:04.8  [Dog] ended after 2.5 s\n"


def test_on_a_terminal_the_partial_line_is_rewritten_and_the_final_takes_its_place() -> None:
    out = io.StringIO()
    screen = Screen(out, live=True, colour=False)
    screen.show(partial("hel"))
    screen.show(partial("hello wor", "hello"))
    screen.show(DOG)
    screen.show(final("hello world"))
    screen.close()
    assert visible(out.getvalue()) == [" 1:02.3  [Dog] 81%", " 0:01.0  hello world", ""]


def visible(text: str) -> list[str]:
    """The lines that remain after erasures."""
    return [line.rsplit("\x1b[2K", 1)[-1].removeprefix("\r") for line in text.split("\n")]


def test_a_long_partial_shows_its_end_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    out = io.StringIO()
    Screen(out, live=True, colour=False).show(partial("many words " * 20 + "the end", "many words "))
    assert "\n" not in out.getvalue()
    assert len(visible(out.getvalue())[0]) < 30
    assert out.getvalue().endswith("the end")


def test_streams_are_named_once_there_are_two() -> None:
    out = io.StringIO()
    screen = Screen(out)
    screen.show(final("one", "yard"))
    screen.show(final("two", "door"))
    assert out.getvalue().splitlines() == [" 0:01.0  one", " 0:01.0  door  two"]


def test_colour_only_where_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()
    Screen(coloured).show(DOG)
    monkeypatch.setenv("NO_COLOR", "1")
    Screen(plain).show(DOG)
    assert "\x1b[" in coloured.getvalue().replace("\x1b[2K", "")
    assert "\x1b[" not in plain.getvalue().replace("\x1b[2K", "")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(max_size=20), st.booleans())
def test_no_text_of_an_event_steers_the_terminal(text: str, stream: str, live: bool) -> None:
    out = io.StringIO()
    screen = Screen(out, live=live, colour=False)
    evil = text + "\x1b]0;title\x07\x9b2J\r\n"
    screen.show(partial(evil, evil[:2], stream))
    screen.show(final(evil, stream))
    screen.show({**DOG, "label": evil, "stream": stream})
    screen.show(
        {"type": "stream.state", "stream": stream, "state": "reconnecting", "detail": evil, "retry_in": 5.0}
    )
    screen.show({"type": "stream.gap", "stream": stream, "start": 0.0, "end": 1.0, "reason": evil})
    screen.show({"type": "error", "code": evil, "message": evil})
    ours = out.getvalue().replace("\r\x1b[2K", "").replace("\n", "")
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in ours)


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.96, 3599.99, 3600, 7325.6)] == [
        " 0:00.0",
        " 1:00.0",
        "1:00:00.0",
        "1:00:00.0",
        "2:02:05.6",
    ]
