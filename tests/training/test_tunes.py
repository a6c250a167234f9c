from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from streamer.audio.decode import decode_file
from streamer.errors import StreamerError
from streamer.training import tunes
from streamer.training.tunes import BARS, BEAT, make_tunes, tune

played = pytest.mark.skipif(
    not shutil.which("fluidsynth") or tunes._soundfont() is None, reason="needs fluidsynth and a soundfont"
)


def number(content: bytes, at: int) -> tuple[int, int]:
    """A variable-length number, and where it ends."""
    value = 0
    while True:
        value = value << 7 | content[at] & 0x7F
        at += 1
        if content[at - 1] < 0x80:
            return value, at


def messages(content: bytes) -> list[tuple[int, bytes]]:
    """The messages of a file's only track with their ticks: read by the standard, not by who wrote it."""
    assert content[:4] == b"MThd"
    kind, tracks, beat = (int.from_bytes(content[at : at + 2], "big") for at in (8, 10, 12))
    assert (kind, tracks, beat) == (0, 1, BEAT)
    assert content[14:18] == b"MTrk"
    assert int.from_bytes(content[18:22], "big") == len(content) - 22
    out, tick, at = [], 0, 22
    while at < len(content):
        wait, at = number(content, at)
        tick += wait
        size = 3 + content[at + 2] if content[at] == 0xFF else 2 if content[at] >> 4 == 0xC else 3
        out.append((tick, content[at : at + size]))
        at += size
    return out


@pytest.mark.parametrize("seed", range(6))
def test_every_note_ends_and_the_tune_is_as_long_as_its_bars(seed: int) -> None:
    found = messages(tune(np.random.default_rng(seed)))
    assert found[-1][1] == b"\xff\x2f\x00"
    assert sum(message[0] == 0xFF for _, message in found) == 2
    sounding: dict[tuple[int, int], int] = {}
    for tick, message in found:
        key = (message[0] & 0x0F, message[1])
        if message[0] & 0xF0 == 0x90:
            sounding[key] = sounding.get(key, 0) + 1
            assert 0 < message[2] < 128
        elif message[0] & 0xF0 == 0x80:
            sounding[key] -= 1
            assert sounding[key] >= 0
        assert tick <= (BARS + 1) * 4 * BEAT
    assert not any(sounding.values())
    assert len({message[1] for _, message in found if message[0] == 0x92}) > 3
    assert tune(np.random.default_rng(seed)) == tune(np.random.default_rng(seed))


@played
def test_tunes_sound_differ_and_are_kept(tmp_path: Path) -> None:
    clips = make_tunes(2, tmp_path, seed=3, progress=False)
    assert [clip.labels for clip in clips] == [("Music",)] * 2
    one, other = (decode_file(clip.path) for clip in clips)
    for audio in (one, other):
        assert 10 < len(audio) / 16_000 < 40
        assert np.sqrt(np.mean(audio**2)) > 0.003
    assert not np.array_equal(one[:16_000], other[:16_000])
    Path(clips[0].path).write_bytes(b"kept")
    again = make_tunes(3, tmp_path, seed=3, progress=False)
    assert len(again) == 3
    assert Path(again[0].path).read_bytes() == b"kept"


def test_without_what_plays_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunes, "SOUNDFONTS", (tmp_path,))
    with pytest.raises(StreamerError, match=r"fluidsynth timgm6mb-soundfont, or set tunes = 0"):
        make_tunes(1, tmp_path / "out", progress=False)
