"""Recordings as people keep them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from streamer.errors import StreamerError
from streamer.training.corpus import Clip, Pack
from streamer.training.recordings import Utterance, gather, read_recordings, split_off
from tests.training.tones import tone, write_wav


def said(recordings: list[Utterance]) -> dict[str, str | None]:
    return {Path(one.name).stem: one.text for one in recordings}


def test_every_layout_tells_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_wav(tmp_path / "plain" / f"{name}.wav", tone(300))
        (tmp_path / "plain" / f"{name}.txt").write_text(f"word {name}\n")
        write_wav(tmp_path / "libri" / "7" / f"{name}.wav", tone(300))
        write_wav(tmp_path / "table" / f"{name}.wav", tone(300))
    (tmp_path / "libri" / "7" / "7-1.trans.txt").write_text("a word a\nb word b\n")
    (tmp_path / "table" / "all.csv").write_text("file,transcript\na.wav,word a\nb.wav,word b\n")
    (tmp_path / "table" / "all.tsv").write_text("path\tsentence\na.wav\tword a\nb.wav\tword b\n")
    (tmp_path / "table" / "all.jsonl").write_text(
        "".join(json.dumps({"path": f"{name}.wav", "text": f"word {name}"}) + "\n" for name in "ab")
    )
    sources = [tmp_path / "plain", tmp_path / "libri"]
    sources += [tmp_path / "table" / f"all.{suffix}" for suffix in ("csv", "tsv", "jsonl")]
    for i, source in enumerate(sources):
        found = gather([source], tmp_path / f"store-{i}")
        assert said(found) == {"a": "word a", "b": "word b"}, source
        np.testing.assert_allclose(found[0].samples, tone(300), atol=1e-4)


def test_librispeech_names_the_speaker(tmp_path: Path) -> None:
    write_wav(tmp_path / "7-1-0000.wav", tone(300))
    (tmp_path / "7-1.trans.txt").write_text("7-1-0000 HELLO\n")
    (found,) = read_recordings(tmp_path)
    assert (found.text, found.speaker) == ("HELLO", "7")


def test_recordings_without_a_transcript_and_packs(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(300))
    pack = Pack(tmp_path / "pack").extend([Clip("k", str(tmp_path / "a.wav"), "g", "me", "test", "hi")])
    assert len(pack) == 1
    both = gather([tmp_path, tmp_path / "pack"], tmp_path / "store")
    assert [(one.text, one.speaker, one.split) for one in both] == [("hi", "me", "test"), (None, "", "train")]


def test_what_changed_is_decoded_again_and_nothing_else(tmp_path: Path) -> None:
    write_wav(tmp_path / "in" / "a.wav", tone(300, 0.5))
    write_wav(tmp_path / "in" / "b.wav", tone(300, 0.4))
    gather([tmp_path / "in"], tmp_path / "store")
    write_wav(tmp_path / "in" / "a.wav", tone(300, 0.3))
    found = gather([tmp_path / "in"], tmp_path / "store")
    assert {Path(one.name).stem: one.seconds for one in found} == {"a": 0.3, "b": 0.4}
    assert len(Pack(tmp_path / "store")) == 3


def test_what_is_missing_or_broken_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_wav(tmp_path / "a.wav", tone(300))
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    (tmp_path / "all.csv").write_text("file,text\na.wav,x\nbroken.wav,y\ngone.wav,z\n")
    with caplog.at_level(logging.WARNING):
        assert list(said(gather([tmp_path / "all.csv"], tmp_path / "store"))) == ["a"]
    assert "gone.wav" in caplog.text
    assert "broken.wav" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "name,text\na,b\n", "line 2: expected a recording under file"),
        ("x.jsonl", "[1]\n", "line 1: expected a JSON object"),
        ("x.jsonl", "", "expected recordings"),
        ("x.doc", "", "expected a folder, a CSV or a manifest"),
        ("x.csv", None, "cannot read"),
    ],
)
def test_sources_that_are_none(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(StreamerError, match=message):
        gather([tmp_path / name], tmp_path / "store")


def utterances(speakers: str, split: str = "train") -> list[Utterance]:
    pack = Pack(Path("nowhere"))
    return [Utterance(f"{i}", "x", speaker, split, pack, i) for i, speaker in enumerate(speakers)]


def test_no_speaker_is_on_both_sides() -> None:
    found = utterances("aaabbbcccddd")
    train, choose, test = split_off(found, 0.2, seed=1)
    assert not {one.speaker for one in train} & {one.speaker for one in choose}
    assert len(choose) == 3
    assert sorted([*train, *choose], key=id) == sorted(found, key=id)
    assert not test
    assert split_off(found, 0.2, seed=1)[1] == choose


def test_splits_that_are_named_are_kept() -> None:
    found = utterances("ab") + utterances("cd", "dev") + utterances("ef", "test")
    assert split_off(found, 0.5, 0) == (found[:2], found[2:4], found[4:])
    with pytest.raises(StreamerError, match="two utterances or more"):
        split_off(utterances("a"), 0.5, 0)
