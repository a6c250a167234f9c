"""Which errors end a source and which are tried again."""

from __future__ import annotations

import errno
import socket

import pytest

from streamer.audio.failures import StalledSourceError, check_host, classify
from streamer.errors import PermanentSourceError, SourceError, TransientSourceError

av = pytest.importorskip("av.error")


@pytest.mark.parametrize(
    ("error", "flowed", "expected"),
    [
        (av.HTTPUnauthorizedError(1, "x"), True, PermanentSourceError),
        (av.HTTPForbiddenError(1, "x"), True, PermanentSourceError),
        (av.HTTPNotFoundError(1, "x"), False, PermanentSourceError),
        (av.HTTPNotFoundError(1, "x"), True, TransientSourceError),
        (av.HTTPServerError(1, "x"), False, TransientSourceError),
        (av.EOFError(1, "x"), True, TransientSourceError),
        (av.ExitError(1, "x"), True, StalledSourceError),
        (OSError(errno.ETIMEDOUT, "x"), False, StalledSourceError),
        (OSError(errno.ECONNREFUSED, "x"), False, TransientSourceError),
        (OSError(errno.ECONNRESET, "x"), True, TransientSourceError),
        (av.ProtocolNotFoundError(1, "x"), False, PermanentSourceError),
        (PermanentSourceError("mine"), False, PermanentSourceError),
    ],
)
def test_classes(error: Exception, flowed: bool, expected: type[SourceError]) -> None:
    assert type(classify(error, flowed=flowed, clean=str)) is expected


def test_texts_are_cleaned() -> None:
    failure = classify(
        OSError(errno.EINVAL, "bad secret"), flowed=False, clean=lambda text: text.replace("secret", "*")
    )
    assert str(failure) == "bad *"


@pytest.mark.parametrize("url", ["rtsp:///x", "rtsp://h:port/x", "rtsp://u:p/w@h/x", "rtsp://[::1/x"])
def test_bad_urls_are_permanent_and_quote_nothing(url: str) -> None:
    with pytest.raises(PermanentSourceError, match="expected scheme") as caught:
        check_host(url, flowed=False)
    assert "p/w" not in str(caught.value)


def test_unknown_host_is_permanent_until_audio_has_flowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PermanentSourceError, match="unknown host cam"):
        check_host("rtsp://cam/x", flowed=False)
    with pytest.raises(TransientSourceError):
        check_host("rtsp://cam/x", flowed=True)


def test_name_server_down_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", down)
    with pytest.raises(TransientSourceError):
        check_host("rtsp://cam/x", flowed=False)


def test_known_hosts_pass() -> None:
    check_host("rtsp://127.0.0.1/x", flowed=False)
