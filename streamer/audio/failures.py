"""Which failures are worth another attempt: errors of the network and of ffmpeg, told apart.

Permanent: bad URL, unknown host, 400, 401, 403, 404, no audio in it. Transient: everything else
(refused, reset, timeout, end of file, 5xx). Once audio has flowed, an unknown host or a 404 is
transient too: a name server or a restarting relay that loses its memory for a moment must not end
a stream that has worked.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from streamer.errors import PermanentSourceError, SourceError, TransientSourceError

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


class StalledSourceError(TransientSourceError):
    """Connected, but nothing arrives."""


def check_host(url: str, flowed: bool) -> None:
    """Resolve the host of `url`, because ffmpeg reports an unknown one as a mere input/output error.

    Raises PermanentSourceError for a bad URL or a host that does not exist, TransientSourceError
    where the name server does not answer.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        # `from None`: the message of urlsplit can quote a password with a bare '/' as the port.
        kind = "port" if "port" in str(error).lower() else "host"
        raise PermanentSourceError(
            f"expected scheme://host[:port]/path, found a bad {kind}; "
            "write special characters of a password as %XX (a slash is %2F)"
        ) from None
    if not host:
        raise PermanentSourceError("expected scheme://host[:port]/path, found no host")
    try:
        socket.getaddrinfo(host, port or DEFAULT_PORTS.get(parts.scheme, 80), type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN or flowed:
            raise TransientSourceError(f"the name of host {host} cannot be looked up at the moment") from None
        raise PermanentSourceError(
            f"unknown host {host}: check the spelling, or that this machine can resolve it"
        ) from None
    except UnicodeError:
        raise PermanentSourceError(f"expected a host name, found {host!r}") from None


def classify(error: Exception, *, flowed: bool, clean: Callable[[str], str]) -> SourceError:
    """The source error that PyAV's `error` amounts to. `clean` takes secrets out of texts.

    `flowed` says whether this source has delivered audio before.
    """
    if isinstance(error, SourceError):
        return error
    import av.error as av

    text = clean(getattr(error, "strerror", None) or str(error) or type(error).__name__)
    permanent: list[tuple[type[Exception], str]] = [
        (
            av.HTTPUnauthorizedError,
            "401 unauthorised: check user and password in the URL (user:password@host)",
        ),
        (av.HTTPForbiddenError, "403 forbidden: this user may not read that address"),
        (av.HTTPBadRequestError, "400 bad request: the server does not understand this address"),
        (av.ProtocolNotFoundError, "this protocol is not supported; expected rtsp, rtsps, http or https"),
        (av.DecoderNotFoundError, "the audio's codec is not supported"),
        (av.DemuxerNotFoundError, "the container format is not supported"),
    ]
    for kind, message in permanent:
        if isinstance(error, kind):
            return PermanentSourceError(message)
    if isinstance(error, av.HTTPNotFoundError):
        message = "404 not found: check the path of the URL"
        return TransientSourceError(message) if flowed else PermanentSourceError(message)
    if isinstance(error, av.HTTPServerError):
        return TransientSourceError("the server answered with an error of its own (5xx)")
    if isinstance(error, av.HTTPOtherClientError):
        return TransientSourceError("the server refused the request (4xx)")
    if isinstance(error, av.ExitError) or _errno(error) == errno.ETIMEDOUT:
        return StalledSourceError("timeout: nothing arrived")
    if isinstance(error, av.EOFError):
        return TransientSourceError("the server ended the stream")
    if _errno(error) == errno.ECONNREFUSED:
        return TransientSourceError("connection refused: nothing listens on that port")
    if _errno(error) == errno.EIO:
        return TransientSourceError("input/output error: the connection broke off")
    return TransientSourceError(text)


def _errno(error: Exception) -> int | None:
    return error.errno if isinstance(error, OSError) else None
