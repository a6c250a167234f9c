from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.training.corpus import Clip
from streamer.training.tags.readers import TEST_FOLD, draw_folds, read_data, spread_folds
from tests.training.corpora import tone, write_set, write_wav
from tests.training.tags.tools import write_folders

FAST = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
BEEP = tone(0.1, 500)


def test_a_folder_for_each_label(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "mine")
    write_wav(root / "my doorbell" / "front" / "1.wav", BEEP)
    write_wav(root / "loose.wav", BEEP)
    (root / "empty drawer").mkdir()
    (root / "Dog" / "notes.txt").write_text("no sound")
    (root / ".hidden").mkdir()
    write_wav(root / "_background_noise_" / "hum.wav", BEEP)
    data = read_data([root])
    assert data.counts() == {"Dog": 3, "my doorbell": 1, "Rain": 3}
    assert sorted(Path(clip.path).name for clip in data.clips if not clip.labels) == ["hum.wav", "loose.wav"]
    assert any("'empty drawer' is left out" in note for note in data.notes)
    assert any("'my doorbell' is not among AudioSet's labels" in note for note in data.notes)
    assert data.licences == {("mine", "not stated"): 8}


def test_an_unknown_label_comes_with_the_nearest_ones(tmp_path: Path) -> None:
    write_wav(tmp_path / "dog_barking" / "1.wav", BEEP)
    (note,) = read_data([tmp_path]).notes
    assert "'Dog'" in note
    assert read_data([tmp_path], {"dog_barking": "Bark"}).notes == ()
    assert read_data([tmp_path], {"dog_barking": "Bark"}).counts() == {"Bark": 1}


def test_ones_own_label_is_one_whatever_its_case(tmp_path: Path) -> None:
    for name in ("My Bell", "my bell"):
        write_wav(tmp_path / name / "1.wav", BEEP)
    assert list(read_data([tmp_path]).counts().values()) == [2]


def test_esc50_as_it_is_unpacked(tmp_path: Path) -> None:
    for i in (1, 2):
        write_wav(tmp_path / "audio" / f"{i}-1-A-0.wav", BEEP)
    rows = "".join(f"{i}-1-A-0.wav,{i},0,dog\n" for i in (1, 2, 3))
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text(f"filename,fold,target,category\n{rows}")
    data = read_data([tmp_path])
    assert [(clip.labels, clip.fold) for clip in data.clips] == [(("Dog",), 1), (("Dog",), 2)]
    (skipped,) = data.skipped
    assert skipped.why == "there is no file '3-1-A-0.wav'"
    assert skipped.where == "esc50.csv, row 4"


def test_urbansounds_folds_are_folders(tmp_path: Path) -> None:
    write_wav(tmp_path / "audio" / "fold3" / "x.wav", BEEP)
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "UrbanSound8K.csv").write_text("slice_file_name,fold,class\nx.wav,3,siren\n")
    (clip,) = read_data([tmp_path]).clips
    assert (clip.labels, clip.fold) == (("Siren",), 3)


def test_audiosets_recordings_are_found_by_their_id(tmp_path: Path) -> None:
    write_wav(tmp_path / "audio" / "--PJHxphWEs.wav", BEEP)
    table = tmp_path / "segments.csv"
    table.write_text(
        '# YTID, start_seconds, end_seconds, positive_labels\n--PJHxphWEs, 3, 13, "/m/09x0r,/m/0bt9lr"\n'
    )
    (clip,) = read_data([table]).clips
    assert clip.labels == ("Speech", "Dog")


def test_several_labels_of_one_recording_come_from_a_list_or_from_rows(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", BEEP)
    (tmp_path / "one.json").write_text(json.dumps([{"path": "a.wav", "labels": ["Dog", "/m/03kmc9", "Dog"]}]))
    (tmp_path / "rows.csv").write_text("path,label\na.wav,Dog\na.wav,Siren\n")
    for table in ("one.json", "rows.csv"):
        (clip,) = read_data([tmp_path / table]).clips
        assert clip.labels == ("Dog", "Siren")


def test_this_projects_manifests(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"path": "a.wav", "label": "dog", "fold": 1, "licence": "CC0"},
        {"path": "b.wav"},
        {"path": "c.wav", "text": "good morning"},
        {"path": "d.wav", "label": "dog", "split": "test"},
    ]
    write_set(tmp_path / "set", rows, seconds=0.1)
    data = read_data([tmp_path / "set"])
    assert [clip.labels for clip in data.clips] == [("Dog",), (), ("Speech",), ("Dog",)]
    assert [clip.fold for clip in data.clips] == [1, 0, 0, TEST_FOLD]
    assert data.licences == {("set", "CC0"): 1, ("set", "not stated"): 3}


def test_folds_are_counted_from_one(tmp_path: Path) -> None:
    for name in "abc":
        write_wav(tmp_path / f"{name}.wav", BEEP)
    (tmp_path / "x.csv").write_text("path,label,fold\na.wav,dog,0\nb.wav,dog,1\nc.wav,dog,2\n")
    assert [clip.fold for clip in read_data([tmp_path / "x.csv"]).clips] == [1, 2, 3]


def test_several_sets_are_one(tmp_path: Path) -> None:
    write_folders(tmp_path / "one", 2)
    write_set(tmp_path / "two", [{"path": "a.wav", "label": "siren"}], seconds=0.1)
    data = read_data([tmp_path / "one", tmp_path / "two"])
    assert [label.name for label in data.labels] == ["Dog", "Rain", "Siren"]
    assert {clip.group for clip in data.clips} == {"one", "two"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", "found nothing at"),
        (lambda p: write_wav(p / "a.wav", BEEP), "expected a folder or a table"),
        (lambda p: p, "a subfolder of recordings for each label"),
    ],
)
def test_what_is_no_data_is_said(tmp_path: Path, make: object, message: str) -> None:
    with pytest.raises(StreamerError, match=message):
        read_data([make(tmp_path)])  # type: ignore[operator]


def test_a_choice_of_tables_and_data_without_a_recording_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label\nx.wav,dog\n")
    with pytest.raises(StreamerError, match=r"found none that can be used. a.csv, row 2: there is no file"):
        read_data([tmp_path])
    (tmp_path / "b.csv").write_text("path,label\n")
    with pytest.raises(StreamerError, match=r"several tables \(a.csv, b.csv\)"):
        read_data([tmp_path])


@FAST
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_no_table_brings_the_reader_down(tmp_path: Path, body: str) -> None:
    """Long names, NULs, newlines: files that are not there, and nothing worse."""
    write_wav(tmp_path / "a.wav", BEEP)
    table = tmp_path / "any.csv"
    table.write_text(f"path,label,fold\na.wav,dog,1\n{body}", encoding="utf-8")
    data = read_data([table])
    assert any(clip.path == str(tmp_path / "a.wav") for clip in data.clips)
    assert all(Path(clip.path).is_file() for clip in data.clips)


def test_drawn_folds_share_every_label_out_evenly() -> None:
    clips = [Clip(f"{i}", "", "x", labels=("Dog",) if i % 3 else ("Rain", "Dog")) for i in range(30)]
    clips.append(Clip("noise", "", "x"))
    clips.append(Clip("test", "", "x", labels=("Dog",), fold=TEST_FOLD))
    drawn = draw_folds(clips, 5, seed=0)
    rain = Counter(clip.fold for clip in drawn if "Rain" in clip.labels)
    assert rain == dict.fromkeys(range(1, 6), 2)
    assert max(Counter(c.fold for c in drawn if c.labels == ("Dog",) and c.fold > 0).values()) == 4
    assert [clip.fold for clip in drawn[-2:]] == [0, TEST_FOLD]
    assert draw_folds(clips, 5, seed=0) == drawn
    assert draw_folds(clips, 5, seed=1) != drawn


def test_takes_of_one_recording_share_a_fold() -> None:
    names = [f"{n}-{100 + n}-{take}.ogg" for n in range(9) for take in "ABC"]
    clips = [Clip(name, name, "g", labels=("Rain",)) for name in names]
    folds: dict[str, set[int]] = {}
    for clip in draw_folds(clips, 3, seed=0):
        folds.setdefault(clip.path.rsplit("-", 1)[0], set()).add(clip.fold)
    assert all(len(found) == 1 for found in folds.values())
    assert {fold for found in folds.values() for fold in found} == {1, 2, 3}


def test_a_label_that_lies_in_one_fold_is_spread_and_others_stay() -> None:
    clips = [Clip(f"d{i}", f"d{i}", "x", labels=("Dog",), fold=1 + i % 5) for i in range(20)]
    clips += [Clip(f"s{i}", f"s{i}", "x", labels=("Siren",), fold=4) for i in range(8)]
    clips += [Clip("one", "one", "x", labels=("Bell",), fold=2)]
    clips += [Clip("t", "t", "x", labels=("Siren",), fold=TEST_FOLD), Clip("n", "n", "x")]
    spread, names = spread_folds(clips, seed=0)
    assert names == ["Siren"]
    assert [clip for clip in spread if "Siren" not in clip.labels] == [
        c for c in clips if "Siren" not in c.labels
    ]
    sirens = [clip for clip in spread if "Siren" in clip.labels]
    assert sirens[-1].fold == TEST_FOLD
    assert Counter(clip.fold for clip in sirens[:8]) == {1: 2, 2: 2, 3: 2, 4: 1, 5: 1}
    assert spread_folds(spread, seed=0) == (spread, [])


def test_one_fold_alone_is_left_as_it_is() -> None:
    clips = [Clip(f"{i}", f"{i}", "x", labels=("Dog",), fold=1) for i in range(4)]
    assert spread_folds(clips, seed=0) == (clips, [])
