"""A second Python: what it gives, what it says, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from streamer.backends.child import in_child
from streamer.errors import ConfigError, ModelError


def add(a: int, b: int) -> tuple[int, int]:
    print("this is nobody's result")
    logging.getLogger("some.name").warning("adding %s", a)
    logging.getLogger("some.name").debug("nobody wants to know")
    return a + b, os.getpid()


def fail(error: Exception) -> None:
    raise error


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep() -> None:
    print("sleeping", file=sys.stderr, flush=True)
    time.sleep(20)
    print("slept well", file=sys.stderr)


def test_a_result_comes_from_elsewhere_and_log_lines_with_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    total, process = in_child(add, 2, 3)
    assert total == 5
    assert process != os.getpid()
    assert [(one.name, one.levelname, one.getMessage()) for one in caplog.records] == [
        ("some.name", "WARNING", "adding 2")
    ]


@pytest.mark.parametrize(
    ("function", "given", "said"),
    [
        (fail, (ConfigError("so it cannot be"),), "^so it cannot be$"),
        (fail, (KeyError("missing"),), "KeyError: 'missing'"),
        (die, (), "status -9"),
    ],
)
def test_why_there_is_no_result_is_told(function: Any, given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        in_child(function, *given)


def test_it_ends_with_its_parent() -> None:
    lines = "from streamer.backends.child import in_child", "from tests.backends.test_child import sleep"
    code = "\n".join([*lines, "in_child(sleep)"])
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    assert parent.stderr.readline() == "sleeping\n"
    parent.kill()
    parent.wait()
    # It has the other end of this pipe as well: there is an end to it when both have ended.
    assert parent.stderr.read() == ""
    parent.stderr.close()
