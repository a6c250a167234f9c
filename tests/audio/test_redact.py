"""No secret survives, wherever it stands and whatever it is made of."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.audio.redact import Redactor, redact, stream_name

secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=24).filter(
    lambda text: (
        text.strip("*") != "" and text not in "rtsp://cam.local:554/stream1 failed" and "***" not in text
    )
)


@given(secrets, st.sampled_from(["rtsp", "http", "https"]), st.booleans())
@settings(max_examples=200, deadline=None)
def test_password_of_a_url_is_masked_everywhere(secret: str, scheme: str, escape: bool) -> None:
    written = quote(secret, safe="") if escape else "".join(c for c in secret if c not in "'\"<>")
    if len(written) < 6 or set(written) <= {"*"}:
        return
    url = f"{scheme}://admin:{written}@cam.local:554/stream1"
    for text in (redact(url), Redactor(url)(f"open {url} failed: bad {written}"), stream_name_or_empty(url)):
        assert written not in text
    assert secret not in Redactor(url)(f"the password was {secret}") or not escape
    assert "cam.local:554/stream1" in redact(url)


def stream_name_or_empty(url: str) -> str:
    try:
        return stream_name(url)
    except ValueError as error:
        return str(error)


@given(
    st.sampled_from(
        ["token", "access_token", "password", "pwd", "api_key", "key", "sig", "auth", "X-Amz-Signature"]
    ),
    st.text("abcdefghijklmnopqrstuvwxyzABCDEF0123456789-_.~", min_size=8, max_size=40),
)
@settings(max_examples=100, deadline=None)
def test_tokens_of_a_query_are_masked(key: str, secret: str) -> None:
    url = f"https://cam.local/live.m3u8?channel=1&{key}={secret}&subtype=0"
    assert secret not in redact(url).replace("channel", "").replace("subtype", "")
    assert secret not in Redactor(url)(f"{url}: 403; refused {secret}")
    assert "channel=1" in redact(url)


def test_what_is_no_secret_stays() -> None:
    for text in (
        "rtsp://cam.local:554/cam/realmonitor?channel=1&subtype=0",
        "/home/me/a file.wav",
        "microphone 'USB Audio: - (hw:1,0)'",
        "connection refused: nothing listens on that port",
    ):
        assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://u:p@h/x", "rtsp://***@h/x"),
        ("rtsp://token@h/x", "rtsp://***@h/x"),
        ("rtsp://u:p@ss@h/x and http://a:b@c/", "rtsp://***@h/x and http://***@c/"),
        ("rtsp://h/user=admin_password=tlJwpbo6_channel=1", "rtsp://h/user=***"),
        ("http://h/?a=1&password=x", "http://h/?a=1&password=***"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert redact(text).startswith(expected)
    assert "tlJwpbo6" not in redact(text)


def test_stream_names() -> None:
    assert stream_name("rtsp://u:p@cam.local:8554/a/b?token=secretsecret") == "cam.local:8554/a/b"
    assert stream_name("http://cam.local/") == "cam.local"
