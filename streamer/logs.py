"""Log lines on standard error: text for people, JSON for machines, and never the same line without end.

Only the command line calls `configure`; everything else takes `logging.getLogger(__name__)`.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from streamer.audio.redact import redact
from streamer.config import LogConfig

BURST = 5
"""Lines of one kind that are let through within WINDOW."""

WINDOW = 60.0
"""Seconds."""

KINDS = 512
"""Kinds remembered; beyond that the one that was quiet for longest is forgotten."""

CHATTY = ("asyncio", "httpx", "numba", "urllib3", "uvicorn.access", "uvicorn.error", "websockets")
"""Other packages' loggers that say too much at level info."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "suppressed"}


@dataclass(slots=True)
class _Kind:
    """Lines of one kind within the running window."""

    since: float
    let_through: int = 0
    suppressed: int = 0


Key = tuple[object, ...]


class RateLimit(logging.Filter):
    """Lets BURST lines of one kind through in WINDOW; the first after that says how many were left out.

    One kind: the same place in the code with the same text arguments. Numbers may differ, so that
    `camera A: 3 frames late` and `camera A: 4 frames late` are one kind, and camera B another.
    `clock` is in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: OrderedDict[Key, _Kind] = OrderedDict()
        self._forgotten = 0
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write `record`; it gets an attribute `suppressed` where others of its kind were not."""
        now = self._clock()
        with self._lock:
            key = _key(record)
            kind = self._kinds.get(key)
            if kind is None:
                kind = self._kinds[key] = _Kind(now)
                if len(self._kinds) > KINDS:
                    self._forgotten += self._kinds.popitem(last=False)[1].suppressed
            self._kinds.move_to_end(key)
            if now - kind.since >= WINDOW:
                if kind.suppressed:
                    record.suppressed = kind.suppressed
                kind.since, kind.let_through, kind.suppressed = now, 0, 0
            if kind.let_through < BURST:
                kind.let_through += 1
                return True
            kind.suppressed += 1
            return False

    def left_out(self) -> int:
        """Lines left out that no later line has mentioned yet."""
        with self._lock:
            return self._forgotten + sum(kind.suppressed for kind in self._kinds.values())


def _key(record: logging.LogRecord) -> Key:
    arguments = record.args if isinstance(record.args, tuple) else ()
    return (
        record.name,
        record.levelno,
        record.pathname,
        record.lineno,
        # Messages that are complete as they are differ by themselves.
        record.msg if isinstance(record.msg, str) else str(record.msg),
        *(one for one in arguments if isinstance(one, str)),
    )


class Handler(logging.StreamHandler[TextIO]):
    """Writes to a text stream through a RateLimit, and says at the end what was left out."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter, limit: RateLimit) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self.addFilter(limit)
        self._limit = limit

    def close(self) -> None:
        """Flush; the stream itself stays open."""
        count, self._limit = self._limit.left_out(), RateLimit()
        if count:
            text = "%d log lines were left out because they repeated"
            self.emit(logging.LogRecord(__name__, logging.INFO, __file__, 0, text, (count,), None))
        super().close()


class TextFormatter(logging.Formatter):
    """`12:34:56.789 warning streamer.audio.url: text`, secrets in URLs masked."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text; a traceback follows on lines of its own."""
        moment = datetime.fromtimestamp(record.created).astimezone()
        head = f"{moment:%H:%M:%S}.{int(record.msecs):03d} {record.levelname.lower()} {record.name}: "
        text = head + record.getMessage() + _repeated(record)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return redact(text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, thread, message, exception and `extra` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as JSON."""
        moment = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": redact(record.getMessage()),
        }
        suppressed = getattr(record, "suppressed", 0)
        if suppressed:
            fields["suppressed"] = suppressed
        if record.exc_info:
            fields["exception"] = redact(self.formatException(record.exc_info))
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in fields:
                fields[name] = redact(value) if isinstance(value, str) else value
        return json.dumps(fields, ensure_ascii=False, default=lambda value: redact(str(value)))


def _repeated(record: logging.LogRecord) -> str:
    suppressed = getattr(record, "suppressed", 0)
    return f" ({suppressed} more like this were left out)" if suppressed else ""


def configure(config: LogConfig, stream: TextIO | None = None) -> Handler:
    """Send every logger's lines to `stream` (standard error) and return the handler that does it.

    Replaces what an earlier call set up. Python's own warnings, and exceptions that end a thread,
    become log lines too. For the composition root only.
    """
    formatter = JsonFormatter() if config.format == "json" else TextFormatter()
    handler = Handler(stream or sys.stderr, formatter, RateLimit())
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, Handler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(config.level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if config.level == "debug" else logging.WARNING)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_end
    return handler


def _log_thread_end(end: threading.ExceptHookArgs) -> None:
    name = end.thread.name if end.thread else "unknown"
    if end.exc_type is SystemExit or end.exc_value is None:
        return
    logging.getLogger(__name__).critical(
        "thread %s has died", name, exc_info=(end.exc_type, end.exc_value, end.exc_traceback)
    )
