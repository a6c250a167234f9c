"""What a person writes to name a source of audio, and the source that comes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from streamer.audio.redact import redact, stream_name
from streamer.audio.source import Source
from streamer.config import SourceConfig
from streamer.errors import PermanentSourceError

EXPECTED = "expected mic, mic:NAME, rtsp://…, http(s)://… or a file, each with an optional NAME= before it"
SCHEMES = ("rtsp", "rtsps", "http", "https")

_NAME = re.compile(r"(?P<name>[^=/\\:?*]+)=(?P<rest>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """`target`: a device's name ("" for the default), a URL (with its password!), or a path."""

    name: str
    kind: Literal["mic", "url", "file"]
    target: str

    def __repr__(self) -> str:
        return f"SourceSpec(name={self.name!r}, kind={self.kind!r}, target={redact(self.target)!r})"


def parse_source(text: str) -> SourceSpec:
    """Understand one `--source`; PermanentSourceError says what was expected.

    `NAME=` before it names the stream. Otherwise a stream is named after the file's base name, the
    device, or the URL's host and path. A file has to exist now; a microphone or a server may come later.
    """
    text = text.strip()
    if not text:
        raise PermanentSourceError(f"{EXPECTED}; found nothing")
    name = ""
    match = _NAME.fullmatch(text)
    if match is not None and not _exists(Path(text)):
        name, text = match["name"].strip(), match["rest"].strip()
    if text == "mic" or text.startswith("mic:"):
        device = text[4:].strip()
        return SourceSpec(name or device or "mic", "mic", device)
    scheme, separator, _ = text.partition("://")
    if separator:
        return _parse_url(name, scheme.lower(), text)
    return _parse_file(name, text)


def _parse_url(name: str, scheme: str, url: str) -> SourceSpec:
    if scheme == "file":
        return _parse_file(name, unquote(urlsplit(url).path))
    if scheme not in SCHEMES:
        raise PermanentSourceError(f"{EXPECTED}; found a URL of scheme {scheme!r}")
    try:
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("no host")
        _ = parts.port  # raises where it is no number
        return SourceSpec(name or stream_name(url), "url", url)
    except ValueError:
        # `from None`: the original message may quote the password.
        raise PermanentSourceError(
            f"expected {scheme}://[user:password@]host[:port]/path, found {redact(url)!r}; "
            "write special characters of a password as %XX"
        ) from None


def _parse_file(name: str, text: str) -> SourceSpec:
    path = Path(text)
    if text.startswith("~/"):
        path = path.expanduser()
    if _exists(path) and path.is_dir():
        raise PermanentSourceError(f"{EXPECTED}; found a directory: {text!r}")
    if not _exists(path):
        raise PermanentSourceError(f"{EXPECTED}; found no file {redact(text)!r}")
    return SourceSpec(name or path.name, "file", str(path))


def _exists(path: Path) -> bool:
    """Whether there is something at `path`; no for what cannot be a path at all (too long)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def open_source(spec: SourceSpec, config: SourceConfig, fast: bool = False) -> Source:
    """The source for `spec`; nothing is opened before its `run`.

    `fast`: files as fast as the ring takes them. Raises PermanentSourceError where the machine
    lacks what this kind of source needs (PortAudio for a microphone).
    """
    if spec.kind == "mic":
        from streamer.audio.microphone import MicrophoneSource

        return MicrophoneSource(spec.target or None, spec.name, config)
    from streamer.audio.url import UrlSource

    return UrlSource(spec, config, "fast" if fast else "real")
