"""Every error this package raises on purpose.

StreamerError
├── ConfigError              a setting is unknown, malformed or contradictory
├── MissingExtraError        an optional dependency is needed; names the extra that brings it
├── ModelError               a model cannot be found, read or used
│   └── CheckpointError      a checkpoint's names, shapes or metadata are not what they should be
├── SourceError              a source of audio cannot deliver
│   ├── TransientSourceError   worth trying again (timeout, end of file on a live URL, 503, device gone)
│   └── PermanentSourceError   trying again cannot help (401, 403, 404, unknown host, bad URL)
└── ProtocolError            a client sent something the protocol does not allow

Messages say what was expected, what was found and what to do. None contains a password.
"""


class StreamerError(Exception):
    """Base class; the command line prints these without a traceback and exits with status 1."""


class ConfigError(StreamerError):
    """A setting is unknown, malformed or contradictory."""


class MissingExtraError(StreamerError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs an optional dependency that is not installed. "
            f"Install it with: pip install 'streamer[{extra}]' "
            f"(in a checkout: .venv/bin/pip install -e '.[{extra}]')"
        )


class ModelError(StreamerError):
    """A model cannot be found, read or used."""


class CheckpointError(ModelError):
    """A checkpoint's names, shapes or metadata are not what they should be."""


class SourceError(StreamerError):
    """A source of audio cannot deliver."""


class TransientSourceError(SourceError):
    """A failure that a later attempt may not meet."""


class PermanentSourceError(SourceError):
    """A failure that every later attempt would meet too."""


class ProtocolError(StreamerError):
    """A client sent something the protocol does not allow."""
