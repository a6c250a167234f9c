from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from streamer.audio.decode import decode_file
from streamer.errors import StreamerError
from streamer.training.voices import ESPEAK, FLITE, synthesise

spoken = pytest.mark.skipif(
    not (shutil.which("flite") and shutil.which("espeak-ng")), reason="needs the programs flite and espeak-ng"
)
TEXTS = ["The dog -- it barks!", "It's raining.", "...", "Good night."]


@spoken
def test_texts_are_spoken_in_voices_of_the_seed(tmp_path: Path) -> None:
    clips = synthesise(TEXTS, tmp_path / "a", seed=1, progress=False)
    assert [clip.text for clip in clips] == ["the dog it barks", "it's raining", "good night"]
    assert {clip.speaker for clip in clips} <= {*FLITE, *ESPEAK}
    assert len({clip.key for clip in clips}) == 3
    for clip in clips:
        audio = decode_file(clip.path)
        assert 0.4 < len(audio) / 16_000 < 5
        assert np.abs(audio).max() > 0.02
    again = synthesise(TEXTS, tmp_path / "b", seed=1, progress=False)
    assert [clip.speaker for clip in again] == [clip.speaker for clip in clips]
    assert Path(again[0].path).read_bytes() == Path(clips[0].path).read_bytes()


@spoken
def test_going_on_keeps_what_is_there(tmp_path: Path) -> None:
    (first,) = synthesise(TEXTS[:1], tmp_path, seed=1, progress=False)
    Path(first.path).write_bytes(b"kept")
    more = synthesise(TEXTS, tmp_path, seed=1, progress=False)
    assert len(more) == 3
    assert Path(more[0].path).read_bytes() == b"kept"


@spoken
@pytest.mark.parametrize(("texts", "seed"), [(["Another text."], 1), (TEXTS, 2)])
def test_speech_of_another_plan_is_not_taken(tmp_path: Path, texts: list[str], seed: int) -> None:
    synthesise(TEXTS[:1], tmp_path, seed=1, progress=False)
    with pytest.raises(StreamerError, match="fresh work folder"):
        synthesise(texts, tmp_path, seed=seed, progress=False)


def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StreamerError, match="apt-get install flite espeak-ng"):
        synthesise(TEXTS, tmp_path / "out", progress=False)


def test_a_program_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("flite", "espeak-ng"):
        (tmp_path / name).write_text("#!/bin/sh\necho no such voice >&2\nexit 3\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StreamerError, match=r"could not speak.*no such voice"):
        synthesise(TEXTS, tmp_path / "out", progress=False)
    assert not list((tmp_path / "out").glob("*.wav"))
