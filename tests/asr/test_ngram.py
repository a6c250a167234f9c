"""The stored word model: what comes back from a file, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from streamer.asr.ngram import END, FIRST_WORD, START, STEP, UNKNOWN, WordModel
from streamer.errors import CheckpointError
from streamer.training.ngrams import NgramConfig, estimate

TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "b", "ab", "éa", "zz"]), max_size=6).map(" ".join), min_size=1
)


def model(texts: list[str]) -> WordModel:
    return WordModel.of(estimate([("a", 1), *((text, 1) for text in texts)], NgramConfig(100, 1, 1)))


@settings(max_examples=30, deadline=None)
@given(TEXTS)
def test_a_file_gives_back_the_same_model(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("words") / "words.safetensors"
    first = model(texts)
    first.save(path)
    second = WordModel.load(path)
    assert second.words == first.words
    ids = range(len(first.words) + FIRST_WORD)
    for key in [(a, b, c) for a in ids for b in ids for c in ids if c != START]:
        assert first.score(*key) == second.score(*key)


def test_scores_are_the_estimates_to_within_half_a_step() -> None:
    ngrams = estimate([("a b a b c", 3), ("c b a", 1)], NgramConfig(100, 1, 1))
    stored = WordModel.of(ngrams)
    for (before, last, word), logprob in zip(ngrams.trigrams.tolist(), ngrams.trigram, strict=True):
        assert stored.score(before, last, word) == pytest.approx(logprob, abs=STEP / 2 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.sampled_from([b"", b"a", b"ab", "é".encode(), b"z", b"q"]))
def test_the_likeliest_word_is_the_likeliest_of_those_that_begin_so(texts: list[str], start: bytes) -> None:
    words = model(texts)
    ids = [i + FIRST_WORD for i, word in enumerate(words.words) if word.startswith(start)]
    best = max((words.score(END, END, i) - words.score(END, END, ids[0]) for i in ids), default=None)
    found = words.likeliest(start)
    if best is None:
        assert found is None
    else:
        assert found is not None
        # After a history that was never seen only a word's own probability counts.
        assert found == pytest.approx(max(words.score(END, END, i) for i in ids))


def test_unknown_words_have_one_id() -> None:
    words = model(["a b"])
    assert words.id(b"nowhere") == UNKNOWN
    assert words.id(b"a") >= FIRST_WORD


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda a: a.pop("bigram"), "bigram"),
        (lambda a: a.update(unigram=a["unigram"][:-1]), "numbers in unigram"),
        (lambda a: a.update(trigram=a["trigram"].astype(np.int16)), "trigram is no row of uint8"),
        (lambda a: a.update(words=a["words"][:-3]), "word model"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change, complaint: str) -> None:
    path = tmp_path / "words.safetensors"
    model(["a b a", "b a b"]).save(path)
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path)
    with pytest.raises(CheckpointError, match=complaint):
        WordModel.load(path)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no such thing")
    with pytest.raises(CheckpointError, match="cannot read the word model"):
        WordModel.load(tmp_path / "x")
