from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.training.corpus import Clip, Pack, normalise_text, read_manifest
from tests.training.corpora import noise, write_set, write_wav


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("MISTER QUILTER'S MANNER", "mister quilter's manner"),
        ("Well -- it’s 5 o'clock, then!", "well it's o'clock then"),
        ("'tis the dogs' bowl", "tis the dogs bowl"),
        ("  a\tb\nc  ", "a b c"),
        ("'' 12 ...", ""),
    ],
)
def test_texts_agree(text: str, wanted: str) -> None:
    assert normalise_text(text) == wanted


@given(st.text())
def test_normal_text_is_normal(text: str) -> None:
    once = normalise_text(text)
    assert normalise_text(once) == once
    assert set(once) <= set("abcdefghijklmnopqrstuvwxyz' ")
    assert "  " not in once


def test_a_language_may_have_more_letters() -> None:
    assert normalise_text("Größe: d'été", "äöüßé") == "größe d'été"
    assert normalise_text("Größe") == "gr e"


def test_a_manifest_becomes_clips(tmp_path: Path) -> None:
    write_set(
        tmp_path,
        [
            {"path": "a.wav", "text": "HELLO, you", "speaker": 7, "split": "test"},
            {"path": "b.wav", "label": "dog", "fold": 3},
            {"path": "c.wav"},
        ],
    )
    with (tmp_path / "manifest.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"path": "d.wav", "text": "line\u2028separator"}\n')
    a, b, c, d = read_manifest(tmp_path, "set")
    assert a == Clip("set/a.wav", str(tmp_path / "a.wav"), "set", "7", "test", "hello you")
    assert (b.text, b.labels, b.fold, b.split) == (None, ("dog",), 3, "train")
    assert (c.text, c.labels) == (None, ())
    assert d.text == "line separator"


@pytest.mark.parametrize("line", ["{", "[1]", '{"text": "no path"}', '{"path": "x", "fold": "one"}'])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"path": "a.wav"}\n' + line + "\n")
    with pytest.raises(StreamerError, match=r"manifest\.jsonl, line 2"):
        read_manifest(tmp_path, "set")


def test_no_manifest_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match=r"nowhere.*manifest\.jsonl"):
        read_manifest(tmp_path / "nowhere", "set")


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Four recordings of 0.1 to 0.4 s."""
    out = []
    for i in range(4):
        path = write_wav(tmp_path / "wav" / f"{i}.wav", noise(0.1 * (i + 1), i))
        out.append(Clip(f"s/{i}", str(path), "s", text=f"text {i}", labels=("dog",), fold=i))
    return out


def test_what_was_packed_comes_back(tmp_path: Path, clips: list[Clip]) -> None:
    pack = Pack(tmp_path / "pack").extend(clips, progress=False)
    for one in (pack, Pack(tmp_path / "pack")):
        assert one.clips == clips
        for i in range(4):
            assert one.length(i) == len(one.audio(i))
            np.testing.assert_allclose(one.audio(i), noise(0.1 * (i + 1), i), atol=1e-4)
    assert len(Pack(tmp_path / "nothing")) == 0


def test_packing_again_decodes_only_what_is_new(tmp_path: Path, clips: list[Clip]) -> None:
    Pack(tmp_path / "pack").extend(clips[:2], progress=False)
    for clip in clips[:2]:
        Path(clip.path).unlink()
    pack = Pack(tmp_path / "pack").extend(clips, progress=False)
    assert pack.clips == clips
    np.testing.assert_allclose(pack.audio(3), noise(0.4, 3), atol=1e-4)


@pytest.mark.parametrize("damage", ["torn line", "missing newline", "partial samples", "lost samples"])
def test_packing_goes_on_after_a_kill(tmp_path: Path, clips: list[Clip], damage: str) -> None:
    """At any moment: in the middle of the index's line, or of the samples before it."""
    folder = tmp_path / "pack"
    Pack(folder).extend(clips[:3], progress=False)
    index, samples = folder / "index.jsonl", folder / "samples.i16"
    whole = 3
    if damage == "torn line":
        index.write_bytes(index.read_bytes()[:-20])
        whole = 2
    elif damage == "missing newline":
        index.write_bytes(index.read_bytes()[:-1])
        whole = 2
    elif damage == "partial samples":
        samples.write_bytes(samples.read_bytes() + b"\x01\x02\x03")
    else:
        samples.write_bytes(samples.read_bytes()[:-5])
        whole = 2
    damaged = Pack(folder)
    assert damaged.clips == clips[:whole]
    for clip in clips[:whole]:
        Path(clip.path).unlink()  # decoding one of these again would fail
    pack = damaged.extend(clips, progress=False)
    assert pack.clips == clips
    for i in range(4):
        np.testing.assert_allclose(pack.audio(i), noise(0.1 * (i + 1), i), atol=1e-4)
    assert samples.stat().st_size == 2 * sum(pack.length(i) for i in range(4))


def test_what_cannot_be_decoded_is_left_out_and_told(
    tmp_path: Path, clips: list[Clip], caplog: pytest.LogCaptureFixture
) -> None:
    Path(clips[1].path).write_bytes(b"not audio")
    Path(clips[2].path).unlink()
    pack = Pack(tmp_path / "pack").extend(clips, progress=False)
    assert pack.clips == [clips[0], clips[3]]
    assert "2 of 4 recordings could not be decoded" in caplog.text
    np.testing.assert_allclose(pack.audio(1), noise(0.4, 3), atol=1e-4)
