"""What a person writes becomes the right kind of source under the right name, or a clear error."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.audio.spec import SourceSpec, open_source, parse_source
from streamer.audio.url import UrlSource
from streamer.config import SourceConfig
from streamer.errors import PermanentSourceError, StreamerError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("talk.wav", "a=b.wav", "mic.wav", "with space.wav"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mic", SourceSpec("mic", "mic", "")),
        ("mic:USB Audio", SourceSpec("USB Audio", "mic", "USB Audio")),
        ("kitchen=mic", SourceSpec("kitchen", "mic", "")),
        ("kitchen = mic:USB", SourceSpec("kitchen", "mic", "USB")),
        ("talk.wav", SourceSpec("talk.wav", "file", "talk.wav")),
        ("./talk.wav", SourceSpec("talk.wav", "file", "talk.wav")),
        ("demo=talk.wav", SourceSpec("demo", "file", "talk.wav")),
        ("a=b.wav", SourceSpec("a=b.wav", "file", "a=b.wav")),
        ("x=a=b.wav", SourceSpec("x", "file", "a=b.wav")),
        ("with space.wav", SourceSpec("with space.wav", "file", "with space.wav")),
        ("rtsp://cam/live", SourceSpec("cam/live", "url", "rtsp://cam/live")),
        ("http://h/a?x=1&token=T", SourceSpec("h/a", "url", "http://h/a?x=1&token=T")),
        ("RTSP://u:p@cam:8554/a", SourceSpec("cam:8554/a", "url", "RTSP://u:p@cam:8554/a")),
        ("door=rtsp://u:p=q@cam/a?b=c", SourceSpec("door", "url", "rtsp://u:p=q@cam/a?b=c")),
    ],
)
def test_sources(folder: Path, text: str, expected: SourceSpec) -> None:
    assert parse_source(text) == expected


def test_file_url(folder: Path) -> None:
    spec = parse_source(f"file://{folder}/with%20space.wav")
    assert spec == SourceSpec("with space.wav", "file", str(folder / "with space.wav"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "found nothing"),
        ("missing.wav", "no file 'missing.wav'"),
        ("microphone", "expected mic, mic:NAME"),
        ("sub", "a directory"),
        ("ftp://h/x", "scheme 'ftp'"),
        ("rtsp:///x", "expected rtsp://"),
        ("rtsp://u:Hunter2/x@h:port/x", "write special characters"),
        ("http://u:Hunter2@[::1/x", "expected http://"),
        ("=mic", "no file '=mic'"),
        ("x" * 5000, "no file"),
        ("~nobody/x.wav", "no file"),
    ],
)
def test_errors_say_what_was_expected(folder: Path, text: str, words: str) -> None:
    with pytest.raises(PermanentSourceError) as caught:
        parse_source(text)
    assert words in str(caught.value)
    assert "Hunter2" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_source_or_an_error_of_ours(text: str) -> None:
    with contextlib.suppress(StreamerError):
        assert parse_source(text).name


def test_repr_hides_the_password() -> None:
    assert "Hunter2" not in repr(parse_source("rtsp://u:Hunter2@cam/a"))


def test_open_source_decides_what_is_live(folder: Path) -> None:
    config = SourceConfig()
    file, camera = parse_source("talk.wav"), parse_source("rtsp://u:Hunter2@cam/a")
    assert isinstance(open_source(file, config), UrlSource)
    assert [open_source(file, config, fast).live for fast in (False, True)] == [False, False]
    assert [open_source(camera, config, fast).live for fast in (False, True)] == [True, False]
    assert open_source(camera, config).address == "rtsp://***@cam/a"
    assert open_source(camera, config).name == "cam/a"
