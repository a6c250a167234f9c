from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.evaluation.sets import SpokenWord, TestSet, Utterance, choose, read_set


def manifest(folder: Path, *rows: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_manifest(tmp_path: Path) -> None:
    rows = (
        {"path": "a.wav", "text": "YES", "speaker": "p1", "split": "test", "sec": 1.0},
        {"path": "sub/b.wav", "text": "go on", "words": [["go", 0.1, 0.4], ["on", 0.4, 0.75]]},
        {"path": "dog.wav", "label": "dog"},
    )
    found = read_set(manifest(tmp_path / "talk", *rows))
    assert found.name == "talk"
    assert found.utterances == (
        Utterance(tmp_path / "talk" / "a.wav", "YES", "p1", "test"),
        Utterance(
            tmp_path / "talk" / "sub/b.wav",
            "go on",
            words=(SpokenWord("go", 0.1, 0.4), SpokenWord("on", 0.4, 0.75)),
        ),
    )
    assert read_set(tmp_path / "talk" / "manifest.jsonl") == found


def test_line_separators_of_unicode_end_no_line(tmp_path: Path) -> None:
    found = read_set(manifest(tmp_path / "s", '{"path": "a.wav", "text": "a\u2028b"}'))
    assert [one.text for one in found.utterances] == ["a\u2028b"]


def test_librispeech_layout(tmp_path: Path) -> None:
    for speaker, chapter in (("84", "121"), ("7", "30")):
        folder = tmp_path / "dev-clean" / speaker / chapter
        folder.mkdir(parents=True)
        key = f"{speaker}-{chapter}"
        (folder / f"{key}.trans.txt").write_text(f"{key}-0000 HELLO THERE\n{key}-0001 SO IT IS\n")
        (folder / f"{key}-0000.flac").touch()
        (folder / f"{key}-0001.mp3").touch()
    found = read_set(tmp_path / "dev-clean")
    assert [(one.path.name, one.text, one.speaker) for one in found.utterances] == [
        ("7-30-0000.flac", "HELLO THERE", "7"),
        ("7-30-0001.mp3", "SO IT IS", "7"),
        ("84-121-0000.flac", "HELLO THERE", "84"),
        ("84-121-0001.mp3", "SO IT IS", "84"),
    ]
    (tmp_path / "dev-clean" / "84" / "121" / "84-121-0000.flac").unlink()
    with pytest.raises(StreamerError, match=r"line 1: expected a recording 84-121-0000\.flac"):
        read_set(tmp_path / "dev-clean")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'a.wav,"yes, sir"\nb.wav,no\n'),
        ("t.csv", 'text,path\n"yes, sir",a.wav\nno,b.wav\n'),
        ("t.tsv", "\ufeffpath\ttext\tspeaker\na.wav\tyes, sir\tann\nb.wav\tno\tbob\n"),
    ],
)
def test_tables(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = read_set(tmp_path / name)
    assert found.name == "t"
    assert [(one.path, one.text) for one in found.utterances] == [
        (tmp_path / "a.wav", "yes, sir"),
        (tmp_path / "b.wav", "no"),
    ]
    assert [one.speaker for one in found.utterances] == (["ann", "bob"] if name == "t.tsv" else ["", ""])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "JSONDecodeError"),
        ("[1, 2]", "not an object"),
        ('{"text": "no path"}', "KeyError: 'path'"),
        ('{"path": "a.wav", "text": "x", "words": [["x", 1]]}', "ValueError"),
        ('{"path": "a.wav", "text": "x", "words": [["x", 2, 1]]}', "a word from 2.0 to 1.0 s"),
        ('{"path": "a.wav", "text": "x", "words": [["x", "soon", 1]]}', "ValueError"),
        ('{"path": "a.wav", "text": "x", "words": 3}', "TypeError"),
    ],
)
def test_lines_that_are_none_are_named(tmp_path: Path, line: str, why: str) -> None:
    folder = manifest(tmp_path / "s", {"path": "ok.wav", "text": "ok"}, "", line)
    with pytest.raises(StreamerError, match="line 3: expected a JSON object") as caught:
        read_set(folder)
    assert why in str(caught.value)


def test_what_is_no_set_says_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "short.csv").write_text("a.wav,yes\nb.wav\n")
    (tmp_path / "bytes.csv").write_bytes(b"a.wav,\xff\xfe\n")
    for name, message in {
        "nothing": r"expected a folder with manifest\.jsonl.*none of them",
        "notes.txt": "none of them",
        "": "expected recordings with texts, found none",
        "short.csv": r"row 2: expected 2 columns \(path,text\), found 1",
        "bytes.csv": "expected text in UTF-8",
    }.items():
        with pytest.raises(StreamerError, match=message):
            read_set(tmp_path / name)
    with pytest.raises(StreamerError, match="expected recordings with texts"):
        read_set(manifest(tmp_path / "dogs", {"path": "a.wav", "label": "dog"}))


def some(*speakers_and_splits: str) -> TestSet:
    pairs = (one.split("/") for one in speakers_and_splits)
    made = (Utterance(Path(f"{i}.wav"), "x", speaker, split) for i, (speaker, split) in enumerate(pairs))
    return TestSet("s", tuple(made))


def test_choosing_speakers_and_splits() -> None:
    both = some("ann/train", "bob/test", "cid/test")
    assert [one.speaker for one in choose(both, split="test").utterances] == ["bob", "cid"]
    assert [one.speaker for one in choose(both, split="test", speakers={"bob", "x"}).utterances] == ["bob"]
    assert choose(some("ann/", "bob/"), split="test").utterances == some("ann/", "bob/").utterances
    with pytest.raises(StreamerError, match="of split dev, found only: test, train"):
        choose(both, split="dev")
    with pytest.raises(StreamerError, match="of speaker dan, found only: ann, bob, cid"):
        choose(both, speakers={"dan"})


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_a_limit_spreads_evenly(count: int, limit: int) -> None:
    whole = some(*["p/"] * count)
    kept = [int(one.path.stem) for one in choose(whole, limit=limit).utterances]
    assert len(kept) == min(count, limit)
    gaps = {after - before for before, after in pairwise(kept)}
    assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)
