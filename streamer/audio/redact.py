"""Addresses without their secrets, for names, logs, events and error texts."""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_plus, urlsplit

MASK = "***"

_SENSITIVE = (
    r"[\w.-]*(?:pass|pwd|tok|key|secret|auth|sig|cred|sess|jwt|login|user|usr|code|hmac|policy|pw)[\w.-]*"
)
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<userinfo>[^\s'\"<>]*)@")
# `key=value` in a query, and in the path too: some cameras take `/user=admin_password=secret_channel=1`.
_PAIR = re.compile(
    rf"(?i)(?P<key>(?<![\w.-]){_SENSITIVE}|[a-z]*pass(?:word)?|pwd)=(?P<value>[^&;#\s'\"<>/]*)"
)
_LONG = re.compile(r"(?P<key>[?&][^=&#\s]*=)(?P<value>[^&#\s'\"<>]{20,})")


def redact(text: str) -> str:
    """`text` with the user information of every URL and the values of secret-looking parameters masked.

    Errs on the side of masking: everything between `://` and the last `@` of the word goes, and so
    does every query value of 20 characters or more.
    """
    text = _USERINFO.sub(lambda match: f"{match['scheme']}{MASK}@", text)
    text = _PAIR.sub(lambda match: f"{match['key']}={MASK}", text)
    return _LONG.sub(lambda match: f"{match['key']}{MASK}", text)


class Redactor:
    """Masks the secrets of one URL wherever they appear, also outside of any URL."""

    def __init__(self, url: str) -> None:
        self._secrets = sorted(_secrets(url), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """`text` without this URL's secrets, and without what looks like one."""
        text = redact(text)
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


def _secrets(url: str) -> set[str]:
    """The passwords and parameter values of `url`, as written and decoded.

    Those shorter than three characters are left to `redact`: replacing them everywhere would
    only make texts unreadable.
    """
    found: set[str] = set()
    userinfo = _USERINFO.match(url)
    if userinfo is not None:
        password = userinfo["userinfo"].partition(":")[2] or userinfo["userinfo"]
        found.add(password)
    for match in (*_PAIR.finditer(url), *_LONG.finditer(url)):
        found.add(match["value"])
    decoded = {form for secret in found for form in (unquote(secret), unquote_plus(secret))}
    return {secret for secret in found | decoded if len(secret) >= 3 and secret != MASK}


def stream_name(url: str) -> str:
    """A stream's name from its URL: host, port and path, without user information and query."""
    parts = urlsplit(redact(url))
    host = parts.netloc.rpartition("@")[2]
    return (host + parts.path).rstrip("/") or host or "url"
