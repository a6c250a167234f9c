"""Recordings, packs and a teacher small enough that training on them takes no time."""

from __future__ import annotations

import json
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from streamer.nn.whisper import Whisper, WhisperDims
from streamer.training.corpus import Clip, Pack

RATE = 16_000

TEXTS = ("yes", "no", "go on", "the dog sat on the mat", "rain again", "a cat", "seven", "good night")


def noise(seconds: float, seed: int = 0, loud: float = 0.1) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (loud * rng.standard_normal(int(seconds * RATE))).astype(np.float32)


def tone(seconds: float, hz: float, loud: float = 0.3) -> NDArray[np.float32]:
    return (loud * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def write_wav(path: Path, audio: NDArray[np.float32]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(audio, -1, 1) * 32767).round().astype("<i2").tobytes())
    return path


def write_set(folder: Path, rows: Sequence[Mapping[str, Any]], seconds: float = 0.5) -> None:
    """A data set: a manifest, and a WAV of noise for each row that has none yet."""
    for i, row in enumerate(rows):
        if not (folder / row["path"]).exists():
            write_wav(folder / row["path"], noise(seconds + 0.05 * i, i))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_pack(folder: Path, clips: Sequence[tuple[Clip, NDArray[np.float32]]]) -> Pack:
    """A pack straight from samples."""
    done = [
        Clip(**{**_fields(clip), "path": str(write_wav(folder / "wav" / f"{i}.wav", audio))})
        for i, (clip, audio) in enumerate(clips)
    ]
    return Pack(folder / "pack").extend(done, progress=False)


def _fields(clip: Clip) -> dict[str, Any]:
    return {name: getattr(clip, name) for name in Clip.__slots__}


def speech_pack(folder: Path, count: int = 8) -> Pack:
    """Clips of 0.4 to 1.1 s with texts."""
    return make_pack(
        folder,
        [
            (
                Clip(f"s/{i}", "", "s", speaker=f"p{i % 4}", text=TEXTS[i % len(TEXTS)]),
                noise(0.4 + 0.1 * i, i),
            )
            for i in range(count)
        ],
    )


def write_teacher(path: Path, seed: int = 3) -> dict[str, torch.Tensor]:
    """A one-layer encoder of width 64 with random weights, in float16."""
    torch.manual_seed(seed)
    encoder = Whisper(WhisperDims(80, 1500, 64, 1, 1, 2000, 448, 32, 2, 1)).encoder
    tensors = {f"encoder.{name}": t.half().contiguous() for name, t in encoder.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return tensors


def write_data(folder: Path) -> Path:
    """A data folder with one set of speech, one of sounds with folds, and sentences."""
    speech = [
        {"path": f"{i}.wav", "text": text.upper(), "speaker": f"p{i}", "split": "test" if i == 7 else "train"}
        for i, text in enumerate(TEXTS)
    ]
    write_set(folder / "talk", speech)
    sounds = [
        {"path": f"{name}{i}.wav", "label": name, "fold": 1 + i} for i in range(2) for name in ("dog", "rain")
    ]
    for row in sounds:
        low = row["label"] == "dog"
        write_wav(folder / "sounds" / str(row["path"]), tone(5, 300) if low else noise(5, int(row["fold"])))
    write_set(folder / "sounds", [*sounds, {"path": "hiss.wav"}], seconds=1.0)
    (folder / "sentences.txt").write_text("the quick brown fox is here\nit has been raining all day\n")
    return folder


CONFIG = """
sound_sets = ["sounds"]
sound_test = "sounds"
held_out = "talk"
test = "talk"
sentences = "sentences.txt"
tts_sentences = 0
tunes = 0
vocabulary = 300
text_state = 32
text_layer = 1
text_head = 2
tag_rounds = 1
[speech_sets]
talk = 1.0
[words.texts]
"sentences.txt" = 1
[speech]
steps = 3
frozen_steps = 1
warmup = 1
save_every = 2
[batch]
seconds = 2.0
[tags]
width = 32
epochs = 1
[tags.draws]
batch = 16
"""
"""A configuration over `write_data`."""
