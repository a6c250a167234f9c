"""A function called in a Python of its own: what it imports and allocates is given back when it is done.

Arguments and result are pickled. What it logs is logged here, under the same names; what its libraries print
goes to standard error. It ends when its parent does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, Any, TypeVar

from streamer.errors import ModelError, StreamerError

T = TypeVar("T")

_BEGIN = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from streamer.backends.child import main
main()
"""
_LENGTH = 8
"""Bytes of the number that says how long the call is."""


def in_child(function: Callable[..., T], *given: Any) -> T:
    """What a module's function gives. Raises ModelError for its StreamerErrors, and where it ends badly."""
    call = pickle.dumps((logging.getLogger().getEffectiveLevel(), function, given))
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the parent's
        )
    except OSError as error:
        raise ModelError(f"cannot start a second Python to prepare the model in: {error}") from error
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(len(call).to_bytes(_LENGTH, "big") + call)
            process.stdin.flush()
        try:
            return _listen(process.stdout)  # type: ignore[no-any-return]
        except (EOFError, pickle.UnpicklingError):
            pass
    raise ModelError(
        f"expected a second Python to prepare the model; it ended before, with status {process.returncode}"
    )


def _listen(said: IO[bytes]) -> Any:
    """Until it is done: log lines, then a result or why there is none."""
    while True:
        kind, *rest = pickle.load(said)
        if kind == "log":
            name, level, message = rest
            logging.getLogger(name).log(level, "%s", message)
        elif kind == "result":
            return rest[0]
        else:
            raise ModelError(rest[0])


class _Relay(logging.Handler):
    """Tells the parent."""

    def __init__(self, tell: Callable[..., None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Text alone: what it was made of may not be picklable."""
        self._tell("log", record.name, record.levelno, self.format(record))


def main() -> None:
    """The child's whole life."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(*what: Any) -> None:
        with lock:
            pickle.dump(what, out)
            out.flush()

    level, function, given = pickle.loads(_read(int.from_bytes(_read(_LENGTH), "big")))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    root = logging.getLogger()
    root.setLevel(level)
    root.addHandler(_Relay(tell))
    try:
        tell("result", function(*given))
    except StreamerError as error:
        tell("failure", str(error))
    except Exception as error:
        logging.getLogger(__name__).exception("The second Python died")
        tell("failure", f"{type(error).__name__}: {error}")
    os._exit(0)  # taking torch apart in order would only cost time


def _read(count: int) -> bytes:
    """So many bytes of what the parent says, without a buffer that would have to be closed."""
    parts = b""
    while len(parts) < count:
        if not (more := os.read(0, count - len(parts))):
            os._exit(1)
        parts += more
    return parts


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)
