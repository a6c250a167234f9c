"""Any labelled data as one set with folds."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import StreamerError
from streamer.training.probe.clips import read_labelled
from tests.training.corpora import noise, write_set, write_wav
from tests.training.emotion.voices import write_ravdess


def test_speakers_part_the_data_where_all_are_known(tmp_path: Path) -> None:
    data = read_labelled([write_ravdess(tmp_path, actors=4, takes=1)], 3, 0)
    assert (data.labels, data.how, len(data.clips)) == (("angry", "sad"), "by speaker", 8)
    speakers = [{clip.speaker for clip in fold} for fold in data.folds]
    assert sum(map(len, speakers)) == len(set().union(*speakers)) == 4
    assert read_labelled([tmp_path], 3, 0) == data


def rows(folds: bool, speaker: str = "") -> list[dict[str, object]]:
    return [
        {"path": f"{label}-{i}.wav", "label": label, "speaker": speaker, "fold": i % 3 + 1 if folds else None}
        for label in ("dog", "my own")
        for i in range(6)
    ]


def test_else_its_own_folds_else_drawn_ones(tmp_path: Path) -> None:
    write_set(tmp_path / "own", rows(folds=True, speaker="one for all"), 0.1)
    data = read_labelled([tmp_path / "own"], 5, 0)
    assert (data.how, len(data.folds), data.labels) == ("the data's own", 3, ("Dog", "my own"))
    assert [int(clip.path.stem.split("-")[1]) % 3 for clip in data.folds[1]] == [1, 1, 1, 1]
    write_set(tmp_path / "none", rows(folds=False), 0.1)
    drawn = read_labelled([tmp_path / "none"], 3, 0)
    assert (drawn.how, len(drawn.folds)) == ("drawn at random", 3)
    for fold in drawn.folds:
        assert (
            [clip.label for clip in fold].count("Dog") == [clip.label for clip in fold].count("my own") == 2
        )
    other = read_labelled([tmp_path / "none"], 3, 1)
    assert {clip.path for clip in other.folds[0]} != {clip.path for clip in drawn.folds[0]}


def test_what_has_no_single_label_is_left_out_and_told(tmp_path: Path) -> None:
    both = {"path": "both.wav", "labels": ["dog", "my own"]}
    write_set(tmp_path, [*rows(folds=False), both, {"path": "quiet.wav"}], 0.1)
    data = read_labelled([tmp_path], 3, 0)
    assert len(data.clips) == 12
    assert "left out 2 recordings" in data.notes[0]


def test_what_cannot_be_compared_on(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match="expected 3 folds or more, found 2"):
        read_labelled([tmp_path], 2, 0)
    write_wav(tmp_path / "dog" / "a.wav", noise(0.2))
    with pytest.raises(StreamerError, match=r"two labels or more .* found Dog"):
        read_labelled([tmp_path], 3, 0)
    write_ravdess(tmp_path / "two", actors=2)
    with pytest.raises(StreamerError, match=r"3 speakers or more .* found 2"):
        read_labelled([tmp_path / "two"], 3, 0)
