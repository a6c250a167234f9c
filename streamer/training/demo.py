"""Makes the demo's recording: open TTS voices over sounds from formulas; nothing of it needs a licence.

Needs the programs `flite` and `espeak-ng`. Run as `python -m streamer.training.demo OUT.opus`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.audio.decode import decode_file
from streamer.timebase import SAMPLE_RATE
from streamer.training.sounds import MAKERS

SECONDS = 46.0

SPEECH = (
    (2.0, "slt", "good morning and welcome to the house by the sea"),
    (8.0, "rms", "it has been raining since early in the morning"),
    (19.0, "slt", "i think that is the telephone would you please answer it"),
    (26.0, "awb", "the captain said that the ship would arrive at seven"),
    (38.0, "rms", "the kitchen is full of smoke we have to leave the house"),
)
"""When, which flite voice, what."""

SOUNDS = (
    (6.5, 12.0, "Rain", 0.12),
    (14.0, 5.0, "Telephone bell ringing", 0.35),
    (24.0, 6.0, "Tick-tock", 0.25),
    (30.5, 5.0, "Siren", 0.3),
    (36.0, 9.0, "Smoke detector, smoke alarm", 0.25),
)
"""When, how long, what (an AudioSet name of `sounds.MAKERS`), how loud."""


def speak(voice: str, text: str) -> NDArray[np.float32]:
    """One sentence of a flite voice at 16 kHz, peak 0.6."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "speech.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(out)], check=True, timeout=60)
        audio = decode_file(out)
    return audio * np.float32(0.6 / max(float(np.abs(audio).max()), 1e-3))


def make() -> NDArray[np.float32]:
    """The whole recording, (n,) float32."""
    rng = np.random.default_rng(7)
    out = (4e-4 * rng.standard_normal(int(SECONDS * SAMPLE_RATE))).astype(np.float32)
    for start, seconds, name, gain in SOUNDS:
        sound = MAKERS[name](seconds, rng) * np.float32(gain / 0.5)
        ramp = np.minimum(1, np.minimum(np.arange(len(sound)), np.arange(len(sound))[::-1]) / 800)
        at = int(start * SAMPLE_RATE)
        out[at : at + len(sound)] += sound * ramp.astype(np.float32)
    for start, voice, text in SPEECH:
        speech = speak(voice, text)
        at = int(start * SAMPLE_RATE)
        out[at : at + len(speech)] += speech
    return np.clip(out, -1, 1)


def write_opus(audio: NDArray[np.float32], path: Path) -> None:
    """Encode as Ogg Opus, 32 kbit/s."""
    import av

    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        stream.bit_rate = 32_000
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000)
        frame = av.AudioFrame.from_ndarray(
            (audio[None] * 32767).astype(np.int16), format="s16", layout="mono"
        )
        frame.sample_rate = SAMPLE_RATE
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    write_opus(make(), Path(sys.argv[1]))
