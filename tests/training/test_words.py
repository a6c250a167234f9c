"""Text files become sentences, and sentences a word model."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.asr.ngram import START, UNKNOWN, WordModel
from streamer.errors import StreamerError
from streamer.training.ngrams import NgramConfig
from streamer.training.words import learn_words, sentences

ALL = NgramConfig(100, 1, 1)


def test_lines_stand_for_themselves_where_no_line_is_empty() -> None:
    assert list(sentences("One two,\nThree! Four\n")) == ["one two", "three", "four"]


def test_paragraphs_are_joined_and_cut_at_their_sentences() -> None:
    text = "Mr. Smith went\nhome. He slept;\nwell.\n\nA second, too"
    assert list(sentences(text)) == ["mr smith went home", "he slept", "well", "a second too"]


def test_files_and_transcripts_are_learnt_with_their_weights(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the dog barks\nthe dog barks\n", encoding="utf-8")
    out = tmp_path / "new" / "words.safetensors"
    count = learn_words({tmp_path / "a.txt": 1}, [("the cat sleeps", 9)], ALL, out, progress=False)
    words = WordModel.load(out)
    assert count == len(words.words) == 5
    the, cat, dog = (words.id(w) for w in (b"the", b"cat", b"dog"))
    assert UNKNOWN not in (the, cat, dog)
    assert words.score(START, the, cat) > words.score(START, the, dog)


def test_letters_of_another_language_are_kept(tmp_path: Path) -> None:
    (tmp_path / "de.txt").write_text("Grüße aus Köln\n", encoding="utf-8")
    learn_words({tmp_path / "de.txt": 1}, [], ALL, tmp_path / "w", letters="äöüß", progress=False)
    assert WordModel.load(tmp_path / "w").id("grüße".encode()) != UNKNOWN


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StreamerError, match=r"x\.txt to be a text in UTF-8"):
        learn_words({tmp_path / "x.txt": 1}, [], ALL, tmp_path / "w", progress=False)
