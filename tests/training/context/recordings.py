"""A stock checkpoint of tiny sizes, and recordings to teach it short contexts with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from streamer.nn.checkpoint import LoadedModel
from streamer.nn.definition import ContextInfo
from streamer.training.context.config import ContextConfig, Draws, Limits
from streamer.training.recordings import Utterance, gather
from tests.tiny import save_tiny, tiny_model
from tests.training.tones import tone, write_wav

QUICK = ContextConfig(
    steps=6,
    batch=2,
    rate=1e-3,
    pieces=4,
    every=3,
    held_out=0.3,
    judged=2,
    margins=(0.0, 1.6),
    draws=Draws(longest=4.0),
    limits=Limits(states=0.9, texts=100.0, sounds=1.0),
)


def stock(decoder: str = "ctc") -> LoadedModel:
    """Nobody has trained or measured it on short contexts."""
    model = tiny_model(decoder=decoder)
    return replace(model, info=model.info.model_copy(update={"context": ContextInfo()}))


def save_stock(folder: Path) -> Path:
    return save_tiny(folder, stock(), "fp32")


def write_recordings(folder: Path, count: int = 4) -> Path:
    """Tones of 1 s and more, and one too short to learn from."""
    for i in range(count):
        write_wav(folder / f"{i}.wav", tone(300 + 400 * i, 1.0 + 0.5 * i, i))
    write_wav(folder / "short.wav", tone(300, 0.3))
    return folder


def utterances(folder: Path) -> list[Utterance]:
    """Those of 1 s and more."""
    found = gather([write_recordings(folder / "data")], folder / "store")
    return [one for one in found if one.seconds >= 1]
