"""Synthetic speech from open TTS voices: text that nobody recorded, in voices with known words.

Needs the programs `flite` and `espeak-ng` (Debian packages of the same names).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from streamer.errors import StreamerError
from streamer.training.bars import track
from streamer.training.corpus import Clip, normalise_text

FLITE = ("slt", "rms", "awb", "kal16")
ESPEAK = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp")


def _command(voice: str, text: str, out: Path, rng: np.random.Generator) -> list[str]:
    if voice in FLITE:
        stretch = rng.uniform(0.85, 1.2)
        return [
            "flite",
            "-voice",
            voice,
            "--setf",
            f"duration_stretch={stretch:.2f}",
            "-t",
            text,
            "-o",
            str(out),
        ]
    variant = rng.choice(["m1", "m2", "m3", "m4", "m7", "f1", "f2", "f3", "f4"])
    speed, pitch = rng.integers(135, 200), rng.integers(25, 75)
    return ["espeak-ng", "-v", f"{voice}+{variant}", "-s", str(speed), "-p", str(pitch), "-w", str(out), text]


def synthesise(
    texts: Sequence[str], folder: Path, seed: int = 0, flite_share: float = 0.6, progress: bool = True
) -> list[Clip]:
    """Speak every text once, in a voice drawn from the seed; files that exist are kept.

    Returns clips of group `tts`. Raises StreamerError where a TTS program is missing or fails, and where
    the folder holds other texts, or these from another seed.
    """
    flite, espeak = shutil.which("flite"), shutil.which("espeak-ng")
    if not flite or not espeak:
        raise StreamerError(
            "expected the programs flite and espeak-ng, found not both: apt-get install flite espeak-ng"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder / "plan.txt", [f"{seed} {flite_share}", *texts])
    clips = []
    for i, text in enumerate(track(texts, "synthesising speech", progress)):
        rng = np.random.default_rng([seed, i])
        voice = str(rng.choice(FLITE if rng.random() < flite_share else ESPEAK))
        out = folder / f"{i:06d}.wav"
        clip = Clip(f"tts/{out.name}", str(out), "tts", speaker=voice, text=normalise_text(text))
        if not clip.text:
            continue
        if not out.exists():
            scratch = out.with_suffix(".part.wav")
            _speak(_command(voice, clip.text, scratch, rng))
            scratch.rename(out)
        clips.append(clip)
    return clips


def _claim(mark: Path, plan: list[str]) -> None:
    """Files are named by number: those of another plan must not be taken for this one's.

    More texts may follow those that were spoken before.
    """
    known = mark.read_text(encoding="utf-8").splitlines() if mark.exists() else []
    if any(old != new for old, new in zip(known, plan, strict=False)):
        raise StreamerError(
            f"{mark.parent} holds speech of other sentences, or of another seed: take a fresh work folder"
        )
    if len(plan) > len(known):
        mark.write_text("\n".join(plan) + "\n", encoding="utf-8")


def _speak(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        raise StreamerError(f"{command[0]} could not speak: {error}. {said}".strip()) from error
