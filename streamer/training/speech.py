"""Fit encoder, decoder and CTC branch together (hybrid CTC/attention, Watanabe et al. 2017).

The encoder starts from a teacher's weights and stays frozen for the first steps, until the new
parts have something to ask of it. It sees contexts of every length from the start, so the result
needs no padding to 30 s. A run is a function of its configuration: killed and resumed at any
checkpoint it continues with the same batches, optimiser and averages.
"""

from __future__ import annotations

import json
import logging
import math
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamer.errors import StreamerError
from streamer.nn.heads import CtcHead
from streamer.nn.whisper import Whisper
from streamer.training import bars
from streamer.training.batches import IGNORE, Batch, SpeechBatches

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
UNREADABLE = (OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError, pickle.UnpicklingError)
"""What `torch.load` raises for a file that is damaged or something else."""


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """How long and how fast. `encoder_lr` is for what came from the teacher, `lr` for what is new."""

    steps: int = 2050
    frozen_steps: int = 300
    warmup: int = 200
    lr: float = 1e-3
    encoder_lr: float = 1e-4
    weight_decay: float = 0.01
    ctc_weight: float = 0.5
    label_smoothing: float = 0.1
    average: float = 0.998
    save_every: int = 100


class SpeechModel(nn.Module):
    """A Whisper and its CTC branch, as trained together."""

    def __init__(self, whisper: Whisper, n_piece: int) -> None:
        super().__init__()
        self.whisper = whisper
        self.ctc = CtcHead(whisper.dims.n_audio_state, n_piece)

    def losses(self, batch: Batch, smoothing: float, encoder_frozen: bool) -> tuple[Tensor, Tensor]:
        """Mean CTC loss a piece and mean cross-entropy a token."""
        with torch.set_grad_enabled(not encoder_frozen and torch.is_grad_enabled()):
            states = self.whisper.encoder(torch.from_numpy(batch.mel)).states
        logits = self.whisper.decoder(torch.from_numpy(batch.tokens), states)
        attention = F.cross_entropy(
            logits.flatten(0, 1),
            torch.from_numpy(batch.targets).flatten(),
            ignore_index=IGNORE,
            label_smoothing=smoothing,
        )
        scores = self.ctc(states).float().log_softmax(-1).transpose(0, 1)
        lengths = torch.tensor([len(p) for p in batch.pieces])
        pieces = torch.tensor([p + 1 for row in batch.pieces for p in row], dtype=torch.long)
        frames = torch.full((len(batch.pieces),), scores.shape[0])
        ctc = F.ctc_loss(scores, pieces, frames, lengths, reduction="sum", zero_infinity=True)
        return ctc / max(1, int(lengths.sum())), attention


def read_checkpoint(path: Path, model: SpeechModel) -> dict[str, Any]:
    """A training checkpoint with its weights put into `model`. Raises StreamerError where it does not fit."""
    try:
        saved: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        model.load_state_dict(saved["model"])
    except UNREADABLE as error:
        raise StreamerError(
            f"expected {path} to be a checkpoint of a model of this configuration: {str(error)[:200]}. "
            "Take the configuration and vocabulary it was begun with, or a fresh work folder"
        ) from error
    return saved


class SpeechTrainer:
    """Runs `SpeechConfig.steps` steps; keeps `checkpoint.pt` and `log.jsonl` in `folder`.

    Goes on from a checkpoint that is there. Raises StreamerError for one of another shape.
    """

    def __init__(
        self, model: SpeechModel, batches: SpeechBatches, config: SpeechConfig, folder: Path
    ) -> None:
        self.model, self.batches, self.config, self.folder = model, batches, config, folder
        encoder = list(model.whisper.encoder.parameters())
        new = [*model.whisper.decoder.parameters(), *model.ctc.parameters()]
        self.optimiser = torch.optim.AdamW(
            [{"params": encoder, "lr": config.encoder_lr}, {"params": new, "lr": config.lr}],
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
        )
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = folder / CHECKPOINT
        if checkpoint.exists():
            saved = read_checkpoint(checkpoint, model)
            self.optimiser.load_state_dict(saved["optimiser"])
            self.average, self.step = saved["average"], saved["step"]
            log.info("resumed at step %d", self.step)

    def save(self) -> None:
        """Write the checkpoint so that a kill at any moment leaves the old one or the new one."""
        scratch = self.folder / "checkpoint.part"
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average": self.average,
                "step": self.step,
            },
            scratch,
        )
        scratch.replace(self.folder / CHECKPOINT)

    def _rate(self) -> tuple[float, float]:
        """Learning rates (encoder, new) of this step: linear warm-up, then half a cosine to a hundredth."""
        c = self.config

        def schedule(step: int, total: int) -> float:
            if step < c.warmup:
                return (step + 1) / c.warmup
            done = (step - c.warmup) / max(1, total - c.warmup)
            return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

        thawed = self.step - c.frozen_steps
        return (
            c.encoder_lr * schedule(thawed, c.steps - c.frozen_steps) if thawed >= 0 else 0.0,
            c.lr * schedule(self.step, c.steps),
        )

    def _train_step(self, batch: Batch) -> tuple[float, float]:
        c = self.config
        frozen = self.step < c.frozen_steps
        for group, rate in zip(self.optimiser.param_groups, self._rate(), strict=True):
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            ctc, attention = self.model.losses(batch, c.label_smoothing, frozen)
        loss = c.ctc_weight * ctc + (1 - c.ctc_weight) * attention
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        decay = min(c.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        return ctc.item(), attention.item()

    def _forget_later(self) -> None:
        """Drop the log's rows of steps that the checkpoint has not: they will come again."""
        path = self.folder / "log.jsonl"
        if path.exists():
            rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [row for row in rows if row.endswith("\n") and json.loads(row)["step"] <= self.step]
            path.write_text("".join(kept), encoding="utf-8")

    def run(self, progress: bool = True) -> None:
        """Train to the configured step; the next batch is made while this one trains."""
        self.model.train()
        self._forget_later()
        started = time.perf_counter()
        with (
            ThreadPoolExecutor(1, "batches") as maker,
            bars.progress(progress) as bar,
            open(self.folder / "log.jsonl", "a", encoding="utf-8") as out,
        ):
            task = bar.add_task("speech", total=self.config.steps, completed=self.step)
            upcoming = maker.submit(self.batches.batch, self.step)
            while self.step < self.config.steps:
                batch = upcoming.result()
                upcoming = maker.submit(self.batches.batch, self.step + 1)
                ctc, attention = self._train_step(batch)
                self.step += 1
                bar.update(task, completed=self.step, description=f"speech ctc {ctc:.2f} att {attention:.2f}")
                row = {"step": self.step, "ctc": ctc, "attention": attention, "audio": batch.seconds}
                print(
                    json.dumps({**row, "elapsed": round(time.perf_counter() - started, 1)}),
                    file=out,
                    flush=True,
                )
                if self.step % self.config.save_every == 0:
                    self.save()
        self.save()
