"""How data sets say what was said how, and by whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import StreamerError
from streamer.training.emotion.clips import Clip, read_clips, speaker_folds


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_ravdess_names(tmp_path: Path) -> None:
    names = ("Actor_11/03-01-01-01-02-01-11.wav", "Actor_24/03-01-08-02-01-02-24.opus")
    # Song, and video without sound, are not for this.
    touch(tmp_path, *names, "Actor_11/03-02-05-01-01-01-11.wav", "Actor_11/02-01-05-01-01-01-11.wav")
    assert read_clips(tmp_path) == [
        Clip(tmp_path / names[0], "neutral", "11", "male"),
        Clip(tmp_path / names[1], "surprised", "24", "female"),
    ]


def test_crema_d_names(tmp_path: Path) -> None:
    touch(tmp_path, "1001_DFA_ANG_XX.wav", "1091_WSI_SAD_HI.wav")
    assert [(clip.label, clip.speaker) for clip in read_clips(tmp_path)] == [
        ("angry", "1001"),
        ("sad", "1091"),
    ]


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b/c.flac")
    table = tmp_path / "clips.csv"
    table.write_text("speaker,file,label,gender\nAnn,a.wav,calm,female\nBob,b/c.flac,cross,\n")
    assert read_clips(table) == [
        Clip(tmp_path / "a.wav", "calm", "Ann", "female"),
        Clip(tmp_path / "b/c.flac", "cross", "Bob"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.wav,x\n", "expected a column speaker, found file, label"),
        ("file,label,speaker\na.wav,x,1\nno.wav,y,2\n", "line 3: expected a file that is there.*'no.wav'"),
        ("file,label,speaker\na.wav,,1\n", "line 2"),
        ("file,label,speaker\na.wav,x,1\na.wav,x,2\n", "two labels or more, found 1"),
    ],
)
def test_tables_with_mistakes(tmp_path: Path, text: str, message: str) -> None:
    touch(tmp_path, "a.wav")
    table = tmp_path / "clips.csv"
    table.write_text(text)
    with pytest.raises(StreamerError, match=message):
        read_clips(table)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match=r"found 1 other recordings, such as dog\.wav"):
        read_clips(touch(tmp_path, "dog.wav"))
    with pytest.raises(StreamerError, match="found 0 other recordings"):
        read_clips(tmp_path / "nowhere")


def test_no_speaker_is_in_two_folds() -> None:
    clips = [Clip(Path(f"{i}"), "x", str(i % 7)) for i in range(40)]
    folds = speaker_folds(clips, 3, seed=1)
    assert sorted((clip.path for fold in folds for clip in fold), key=str) == sorted(
        (clip.path for clip in clips), key=str
    )
    speakers = [{clip.speaker for clip in fold} for fold in folds]
    assert sum(map(len, speakers)) == 7
    assert max(map(len, folds)) - min(map(len, folds)) <= 6
    assert speaker_folds(clips, 3, seed=1) == folds
    for count in (2, 8):
        with pytest.raises(StreamerError, match=f"found {count} folds and 7 speakers"):
            speaker_folds(clips, count, seed=1)
