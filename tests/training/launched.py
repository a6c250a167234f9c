"""One of several processes that train together: `python -m tests.training.launched FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from streamer.training.batches import BatchConfig, SpeechBatches
from streamer.training.corpus import Pack
from streamer.training.speech import SpeechConfig, SpeechTrainer
from tests.tiny import tiny_tokenizer
from tests.training.test_speech import model

CONFIG = SpeechConfig(steps=3, frozen_steps=1, warmup=1, save_every=2, frozen_layers=0)


def batches(folder: Path) -> SpeechBatches:
    """Over the pack in `folder`."""
    pack = Pack(folder / "pack")
    config = BatchConfig(seconds=2.0, wordless=0.0)
    return SpeechBatches([(pack, list(range(len(pack))), 1.0)], [], tiny_tokenizer(), config)


def main(folder: Path) -> None:
    """Train; every process writes what it ends with."""
    trainer = SpeechTrainer(model(), batches(folder), CONFIG, folder / "run")
    rank = trainer.accelerator.process_index
    trainer.run(progress=False)
    torch.save({"model": trainer.model.state_dict(), "average": trainer.average}, folder / f"{rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
