"""Recordings of which anybody can tell what is said: a low tone is one word, a high one another."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = 300, 2000
WORDS = {LOW: "Om.", HIGH: "Hi!"}


def tone(pitch: float, seconds: float = 0.5, seed: int = 0) -> NDArray[np.float32]:
    """A tone in a little noise, as int16 files have it."""
    t = np.arange(round(16000 * seconds)) / 16000
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.3 * np.sin(2 * np.pi * pitch * t) + 0.01 * noise).astype(np.float32)


def write_wav(path: Path, samples: NDArray[np.float32]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def write_tones(folder: Path, count: int = 4, seconds: float = 0.5, **more: object) -> Path:
    """A folder with a manifest: `count` tones to learn from, two to choose by, two to test."""
    rows: list[dict[str, object]] = []
    for split, n in (("train", count), ("valid", 2), ("test", 2)):
        for i in range(n):
            pitch = (LOW, HIGH)[i % 2]
            name = f"{split}-{i}.wav"
            write_wav(folder / name, tone(pitch, seconds + 0.02 * (i // 2), seed=len(rows)))
            rows.append({"path": name, "text": WORDS[pitch], "split": split} | more)
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
