"""Tunes that nobody wrote, on the instruments of an open soundfont: music whose licence is no question.

Needs the program `fluidsynth` and a General MIDI soundfont (Debian: fluidsynth, timgm6mb-soundfont).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np

from streamer.errors import StreamerError
from streamer.timebase import SAMPLE_RATE
from streamer.training.bars import track
from streamer.training.corpus import Clip

SOUNDFONTS = (
    Path("/usr/share/sounds/sf2"),
    Path("/usr/share/soundfonts"),
    Path("/opt/homebrew/share/soundfonts"),
)
"""Where systems keep them; the first in order of name is taken."""

BEAT = 480
"""Ticks of a quarter note."""
BARS = 8
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))
"""Major and minor, in semitones."""
CHORDS, BASS, MELODY, DRUMS = 0, 1, 2, 9
"""Channels; General MIDI plays drums on the tenth."""
INSTRUMENTS = 104
"""General MIDI's, without its sound effects."""
ON, OFF, PROGRAM = 0x90, 0x80, 0xC0

Note = tuple[int, int, int, int, int]
"""Tick, length in ticks, channel, key, velocity."""


def make_tunes(count: int, folder: Path, seed: int = 0, progress: bool = True) -> list[Clip]:
    """So many tunes of 13 to 27 s as clips of group `tunes`, labelled Music; files that exist are kept.

    Raises StreamerError where FluidSynth or a soundfont is missing, or where it fails.
    """
    player, soundfont = shutil.which("fluidsynth"), _soundfont()
    if player is None or soundfont is None:
        raise StreamerError(
            "expected the program fluidsynth and a soundfont for synthesised music, found not both: "
            "apt-get install fluidsynth timgm6mb-soundfont, or set tunes = 0"
        )
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for i in track(range(count), "synthesising music", progress):
        out = folder / f"{seed}-{i:04d}.wav"
        if not out.exists():
            score, scratch = out.with_suffix(".mid"), out.with_suffix(".part.wav")
            score.write_bytes(tune(np.random.default_rng([seed, i])))
            _play(
                [player, "-ni", "-F", str(scratch), "-r", str(SAMPLE_RATE), str(soundfont), str(score)],
                scratch,
            )
            scratch.rename(out)
        clips.append(Clip(f"tunes/{out.name}", str(out), "tunes", labels=("Music",)))
    return clips


def _soundfont() -> Path | None:
    return next((file for folder in SOUNDFONTS for file in sorted(folder.glob("*.sf[23]"))), None)


def _play(command: list[str], out: Path) -> None:
    try:
        done = subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        raise StreamerError(f"fluidsynth could not play: {error}. {said}".strip()) from error
    if not out.exists():  # what it could not write is no failure to it
        raise StreamerError(f"fluidsynth wrote no sound: {done.stderr.decode(errors='replace').strip()}")


def tune(rng: np.random.Generator) -> bytes:
    """A standard MIDI file: four chords that come round, a bass, a melody over them, drums in every other."""
    scale, root = SCALES[int(rng.integers(2))], int(rng.integers(48, 60))
    chords = rng.choice([0, 3, 4, 5], 4)
    drums = rng.random() < 0.5
    notes: list[Note] = []
    for bar in range(BARS):
        start, chord = bar * 4 * BEAT, int(chords[bar % 4])
        for step in (0, 2, 4):
            octave, degree = divmod(chord + step, 7)
            notes.append((start, 4 * BEAT, CHORDS, root + scale[degree] + 12 * octave, 70))
        notes.append((start, 2 * BEAT, BASS, root - 12 + scale[chord], 90))
        notes += _melody(start, root + 12, scale, rng)
        if drums:
            notes += [
                (start + i * BEAT // 2, BEAT // 4, DRUMS, key, 90)
                for i, key in enumerate((36, 42, 38, 42, 36, 42, 38, 42))
            ]
    programs = [int(p) for p in rng.integers(0, INSTRUMENTS, 3)]
    return _file(notes, programs, round(60e6 / rng.uniform(70, 150)))


def _melody(start: int, root: int, scale: tuple[int, ...], rng: np.random.Generator) -> list[Note]:
    notes, at = [], start
    while at < start + 4 * BEAT:
        length = int(rng.choice([BEAT // 2, BEAT // 2, BEAT, BEAT, 2 * BEAT]))
        if rng.random() < 0.8:
            notes.append((at, length, MELODY, root + int(rng.choice(scale)), 95))
        at += length
    return notes


def _file(notes: list[Note], programs: list[int], beat_us: int) -> bytes:
    """Notes as a MIDI file of one track, a beat `beat_us` microseconds long."""
    events = [(0, bytes([PROGRAM | channel, program])) for channel, program in enumerate(programs)]
    for at, length, channel, key, velocity in notes:
        events.append((at, bytes([ON | channel, key, velocity])))
        events.append((at + length - 1, bytes([OFF | channel, key, 0])))
    content, last = b"\x00\xff\x51\x03" + beat_us.to_bytes(3, "big"), 0
    for at, message in sorted(events, key=lambda event: event[0]):
        content += _length(at - last) + message
        last = at
    content += b"\x00\xff\x2f\x00"
    head = (0).to_bytes(2, "big") + (1).to_bytes(2, "big") + BEAT.to_bytes(2, "big")
    return b"MThd" + (6).to_bytes(4, "big") + head + b"MTrk" + len(content).to_bytes(4, "big") + content


def _length(ticks: int) -> bytes:
    """A number as MIDI writes it: seven bits a byte, the last one without the eighth."""
    out = [ticks & 0x7F]
    while ticks := ticks >> 7:
        out.append(0x80 | ticks & 0x7F)
    return bytes(reversed(out))
