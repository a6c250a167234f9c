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
from streamer.training.corpus import Clip, normalise_text

FLITE = ("slt", "rms", "awb", "kal16")
ESPEAK = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp")


def _command(voice: str, text: str, out: Path, rng: np.random.Generator) -> list[str]:
    if voice in FLITE:
        stretch = rng.uniform(0.85, 1.2)
        return ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch:.2f}", "-t", text, "-o", str(out)]
    variant = rng.choice(["m1", "m2", "m3", "m4", "m7", "f1", "f2", "f3", "f4"])
    speed, pitch = rng.integers(135, 200), rng.integers(25, 75)
    return ["espeak-ng", "-v", f"{voice}+{variant}", "-s", str(speed), "-p", str(pitch), "-w", str(out), text]


def synthesise(texts: Sequence[str], folder: Path, seed: int = 0, flite_share: float = 0.6) -> list[Clip]:
    """Speak every text once, in a voice drawn from the seed; files that exist are kept.

    Returns clips of group `tts`. Raises StreamerError where no TTS program is installed.
    """
    from rich.progress import track

    flite, espeak = shutil.which("flite"), shutil.which("espeak-ng")
    if not flite or not espeak:
        raise StreamerError("expected the programs flite and espeak-ng, found not both: apt-get install flite espeak-ng")
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for i, text in enumerate(track(texts, "synthesising speech")):
        rng = np.random.default_rng([seed, i])
        voice = str(rng.choice(FLITE if rng.random() < flite_share else ESPEAK))
        out = folder / f"{i:06d}.wav"
        clip = Clip(f"tts/{out.name}", str(out), "tts", speaker=voice, text=normalise_text(text))
        if not clip.text:
            continue
        if not out.exists():
            scratch = out.with_suffix(".part.wav")
            subprocess.run(_command(voice, clip.text, scratch, rng), check=True, capture_output=True, timeout=60)
            scratch.rename(out)
        clips.append(clip)
    return clips
