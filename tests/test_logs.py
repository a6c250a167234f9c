"""Log lines: readable, parseable, without secrets, and not without end."""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer import logs
from streamer.config import LogConfig


@pytest.fixture
def restored() -> Iterator[None]:
    """Puts back what `configure` changes."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in logs.CHATTY}
    yield
    for one in set(root.handlers) - set(handlers):
        root.removeHandler(one)
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    logging.captureWarnings(False)
    threading.excepthook = hook


def start(**settings: str) -> tuple[io.StringIO, logs.Handler]:
    stream = io.StringIO()
    return stream, logs.configure(LogConfig.model_validate(settings), stream)


def record(text: str, *arguments: object, line: int = 1, name: str = "streamer.x") -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "x.py", line, text, arguments, None)


@pytest.mark.usefixtures("restored")
def test_text() -> None:
    stream, _ = start()
    logger = logging.getLogger("streamer.test")
    logger.info("opened %s", "rtsp://me:hush@camera/1")
    logger.debug("nothing")
    line = stream.getvalue()
    assert "info streamer.test: opened rtsp://***@camera/1\n" in line
    assert line.count("\n") == 1


@pytest.mark.usefixtures("restored")
def test_json_lines_carry_extras_and_tracebacks() -> None:
    stream, _ = start(format="json", level="debug")
    logger = logging.getLogger("streamer.test")
    try:
        raise ValueError("rtsp://me:hush@camera/1")
    except ValueError:
        logger.exception("broken\nin two", extra={"stream": "door", "odd": object})
    logger.debug("second")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["message"] == "broken\nin two"
    assert first["level"] == "error"
    assert first["stream"] == "door"
    assert first["thread"] == "MainThread"
    assert first["time"].endswith("Z")
    assert "ValueError" in first["exception"]
    assert "hush" not in stream.getvalue()
    assert second["level"] == "debug"


@pytest.mark.usefixtures("restored")
def test_repeated_lines_are_counted_to_the_last() -> None:
    stream, handler = start()
    logger = logging.getLogger("streamer.test")
    for number in range(20):
        logger.warning("camera %s is %d late", "A", number)
    logger.warning("camera %s is %d late", "B", 1)
    assert stream.getvalue().count("camera A") == logs.BURST
    assert stream.getvalue().count("camera B") == 1
    handler.close()
    assert f"{20 - logs.BURST} log lines were left out" in stream.getvalue()


@pytest.mark.usefixtures("restored")
def test_configuring_twice_writes_once() -> None:
    old, _ = start()
    new, _ = start()
    logging.getLogger("streamer.test").info("once")
    assert (old.getvalue().count("once"), new.getvalue().count("once")) == (0, 1)


@pytest.mark.usefixtures("restored")
def test_warnings_and_dead_threads_become_lines() -> None:
    stream, _ = start()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old-fashioned", stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0, name="worker-3")
    thread.start()
    thread.join()
    assert "old-fashioned" in stream.getvalue()
    assert "critical streamer.logs: thread worker-3 has died" in stream.getvalue()
    assert "ZeroDivisionError" in stream.getvalue()


def test_after_the_window_a_line_says_what_was_left_out() -> None:
    now = 0.0
    limit = logs.RateLimit(lambda: now)
    passed = [limit.filter(record("x %d", n)) for n in range(logs.BURST + 3)]
    assert passed == [True] * logs.BURST + [False] * 3
    assert limit.left_out() == 3
    now = logs.WINDOW
    again = record("x %d", 9)
    assert limit.filter(again)
    assert logs.TextFormatter().format(again).endswith("x 9 (3 more like this were left out)")
    assert json.loads(logs.JsonFormatter().format(again))["suppressed"] == 3
    assert limit.left_out() == 0


def test_kinds_are_bounded() -> None:
    limit = logs.RateLimit(lambda: 0.0)
    for number in range(logs.KINDS * 2):
        assert limit.filter(record("x %s", str(number)))
    assert len(limit._kinds) == logs.KINDS


@given(st.lists(st.tuples(st.sampled_from("AB"), st.floats(0, 30)), max_size=60))
def test_every_line_is_written_or_counted(lines: list[tuple[str, float]]) -> None:
    now = 0.0
    limit = logs.RateLimit(lambda: now)
    written = mentioned = 0
    for name, wait in lines:
        now += wait
        one = record("camera %s", name)
        if limit.filter(one):
            written += 1
            mentioned += getattr(one, "suppressed", 0)
    assert written + mentioned + limit.left_out() == len(lines)


def test_importing_configures_nothing() -> None:
    assert not any(isinstance(one, logs.Handler) for one in logging.getLogger().handlers)
