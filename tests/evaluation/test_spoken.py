from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.audio.decode import decode_file
from streamer.errors import StreamerError
from streamer.evaluation.sets import SpokenWord, read_set
from streamer.evaluation.spoken import Speaker, make_set, spoken_form, word_times

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ("Printing, then; for OUR purpose!", "printing, then, for our purpose"),
        ("  It’s — 'quoted' (aside) ", "it's quoted aside"),
        (", , one,, two ,", "one, two"),
        ("in 1492", ""),
        ("...", ""),
    ],
)
def test_spoken_form(line: str, form: str) -> None:
    assert spoken_form(line) == form


def test_word_times() -> None:
    phones = [("pau", 0.2), ("dh", 0.25), ("ax", 0.3), ("k", 0.4), ("ae", 0.6), ("t", 0.7), ("pau", 0.9)]
    assert word_times(["the", "cat"], [["dh", "iy"], ["k", "ae", "t"]], phones) == [
        SpokenWord("the", 0.2, 0.3),  # its vowel is a reduced one
        SpokenWord("cat", 0.3, 0.7),
    ]
    assert word_times(["a", "cat"], [["ax"], ["k", "ae", "t"]], phones) is None  # fewer phones
    assert word_times(["the", "cat"], [["dh", "t"], ["k", "ae", "t"]], phones) is None  # no vowel
    assert word_times(["", "it"], [[], ["dh", "ax", "k", "ae", "t"]], phones) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=6))
def test_words_do_not_overlap_and_pauses_are_nobodys(drawn: list[tuple[int, bool]]) -> None:
    alone, phones, at = [], [("pau", 0.5)], 0.5
    for number, pause in drawn:
        alone.append(["s"] * number)
        for _ in range(number):
            at += 0.1
            phones.append(("s", at))
        if pause:
            at += 0.3
            phones.append(("pau", at))
    times = word_times(["x"] * len(alone), alone, phones)
    assert times is not None
    for word, (number, _) in zip(times, drawn, strict=True):
        assert word.end - word.start == pytest.approx(0.1 * number)
    for before, after, (_, pause) in zip(times, times[1:], drawn, strict=False):
        assert after.start - before.end == pytest.approx(0.3 if pause else 0.0)


@needs_flite
def test_a_set_has_the_words_where_they_sound(tmp_path: Path) -> None:
    lines = ["Good morning, captain.", "", "at 7", "the ship has come"]
    assert make_set(lines, tmp_path / "s", voices=("kal16",), seed=3) == (2, 2)
    said = read_set(tmp_path / "s").utterances
    assert [one.text for one in said] == ["good morning, captain", "the ship has come"]
    assert [[word.text for word in one.words] for one in said] == [
        ["good", "morning", "captain"],
        ["the", "ship", "has", "come"],
    ]
    for one in said:
        samples = decode_file(one.path)
        inside = np.zeros(len(samples), bool)
        for word in one.words:
            inside[int(word.start * 16_000) : int(word.end * 16_000)] = True
        assert np.mean(samples[inside] ** 2) > 10 * np.mean(samples[~inside] ** 2)
    assert not list((tmp_path / "s").glob("*.part*"))
    with pytest.raises(StreamerError, match="holds a set of recordings already"):
        make_set(lines, tmp_path / "s")


@needs_flite
def test_the_same_seed_gives_the_same_voices_and_speeds(tmp_path: Path) -> None:
    sets = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_set(["yes, captain", "no, never"], tmp_path / folder, ("kal16",), seed)
        rows = (tmp_path / folder / "manifest.jsonl").read_text().splitlines()
        sets.append([json.loads(row)["words"] for row in rows])
    assert sets[0] == sets[1] != sets[2]


@needs_flite
def test_what_flite_cannot_do_is_told(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match=r"such as .*kal16.* found nobody"):
        make_set(["yes"], tmp_path / "s", voices=("nobody", "kal16"))
    with pytest.raises(StreamerError, match="flite could not write"):
        Speaker("kal16").say("yes", tmp_path / "no" / "x.wav")


def test_without_flite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StreamerError, match="apt-get install flite"):
        make_set(["yes"], tmp_path / "s")
