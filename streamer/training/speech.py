"""Fit encoder, decoder and CTC branch together (hybrid CTC/attention, Watanabe et al. 2017).

The encoder starts from a teacher's weights and stays frozen for the first steps, until the new
parts have something to ask of it. It sees contexts of every length from the start, so the result
needs no padding to 30 s. A run is a function of its configuration: killed and resumed at any
checkpoint it continues with the same batches, optimiser and averages.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamer.asr.tokenizer import TIMESTAMPS
from streamer.errors import ConfigError, StreamerError
from streamer.nn.heads import CtcHead
from streamer.nn.whisper import Whisper
from streamer.training import bars, curve, devices
from streamer.training.batches import IGNORE, Batch, SpeechBatches

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
SPREAD = 4
"""Timestamps (of 20 ms) that the standard deviation of a time's bell curve spans."""
PRECISIONS = ("bf16", "float32")
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
    frozen_layers: int = 0
    """The encoder's convolutions and so many of its blocks never learn; 0: all do."""
    only_decoder: bool = False
    """Encoder and CTC branch stay as they are, and with them whatever else hangs on the encoder."""
    precision: str = "bf16"
    """bf16 or float32: what matrix products are computed in."""
    trackers: tuple[str, ...] = ()
    """Where curves go besides the log: accelerate's names, such as tensorboard or wandb."""


class SpeechModel(nn.Module):
    """A Whisper and its CTC branch, as trained together."""

    def __init__(self, whisper: Whisper, n_piece: int) -> None:
        super().__init__()
        self.whisper = whisper
        self.ctc = CtcHead(whisper.dims.n_audio_state, n_piece)

    def forward(self, batch: Batch, smoothing: float) -> tuple[Tensor, Tensor]:
        """Mean CTC loss a piece and mean cross-entropy a token."""
        device = self.ctc.out.weight.device
        mel, tokens, targets = (
            torch.from_numpy(x).to(device) for x in (batch.mel, batch.tokens, batch.targets)
        )
        states = self.whisper.encoder(mel).states
        logits = self.whisper.decoder(tokens, states)
        attention = text_loss(logits.flatten(0, 1), targets.flatten(), smoothing)
        scores = self.ctc(states).float().log_softmax(-1).transpose(0, 1)
        lengths = torch.tensor([len(p) for p in batch.pieces])
        pieces = torch.tensor([p + 1 for row in batch.pieces for p in row], dtype=torch.long)
        frames = torch.full((len(batch.pieces),), scores.shape[0])
        ctc = F.ctc_loss(scores, pieces.to(device), frames, lengths, reduction="sum", zero_infinity=True)
        return ctc / max(1, int(lengths.sum())), attention

    def first_layers(self, count: int) -> list[nn.Parameter]:
        """Parameters of the encoder's convolutions and its first `count` blocks; none for 0."""
        encoder = self.whisper.encoder
        parts = [encoder.conv1, encoder.conv2, *encoder.blocks[:count]] if count else []
        return [parameter for part in parts for parameter in part.parameters()]


def text_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy of (N, V) logits for (N,) tokens, IGNORE where there is none.

    A timestamp is nearly right where it is nearly the time: its target is a bell curve over its neighbours
    instead of label smoothing, so that each of the 1501 is learnt from what is said around it too.
    """
    first = logits.shape[1] - TIMESTAMPS
    timed = targets >= first
    plain = F.cross_entropy(
        logits,
        targets.masked_fill(timed, IGNORE),
        ignore_index=IGNORE,
        label_smoothing=smoothing,
        reduction="sum",
    )
    around = torch.arange(-3 * SPREAD, 3 * SPREAD + 1, device=logits.device)
    bell = torch.exp(-0.5 * (around / SPREAD) ** 2)
    near = (targets[timed][:, None] + around).clamp(first, logits.shape[1] - 1)
    found = logits[timed].float().log_softmax(-1).gather(1, near)
    return (plain - (found * (bell / bell.sum())).sum()) / (targets != IGNORE).sum()


def check(config: SpeechConfig, model: SpeechModel) -> None:
    """Whether `model` can be trained so. Raises ConfigError."""
    layers = len(model.whisper.encoder.blocks)
    if not 0 <= config.frozen_layers <= layers:
        raise ConfigError(
            f"speech.frozen_layers: expected 0 to {layers}, the encoder's blocks, "
            f"found {config.frozen_layers}"
        )
    if config.precision not in PRECISIONS:
        raise ConfigError(f"speech.precision: expected {' or '.join(PRECISIONS)}, found '{config.precision}'")


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
    """Runs `SpeechConfig.steps` steps; keeps `checkpoint.pt`, `log.jsonl` and `curve.png` in `folder`.

    Launched as several processes (torch's environment variables say so), each takes its share of the batches
    and they learn from the mean of their gradients; the first of them writes the files. Goes on from a
    checkpoint that is there. Raises StreamerError for one of another shape.
    """

    def __init__(
        self,
        model: SpeechModel,
        batches: SpeechBatches,
        config: SpeechConfig,
        folder: Path,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.batches, self.config, self.folder = batches, config, folder
        check(config, model)
        self.accelerator = accelerator or devices.accelerator(folder, config.trackers)
        self.model: SpeechModel = model.to(self.accelerator.device)
        never = {id(parameter) for parameter in model.first_layers(config.frozen_layers)}
        self._encoder = [p for p in model.whisper.encoder.parameters() if id(p) not in never]
        new = list(model.whisper.decoder.parameters())
        if not config.only_decoder:
            new += model.ctc.parameters()
        model.requires_grad_(False)
        for parameter in new:
            parameter.requires_grad_(True)
        self.optimiser = torch.optim.AdamW(
            [{"params": self._encoder, "lr": config.encoder_lr}, {"params": new, "lr": config.lr}],
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
        )
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.step = 0
        self._net: nn.Module | None = None
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = folder / CHECKPOINT
        if checkpoint.exists():
            self._resume(checkpoint)

    def _resume(self, path: Path) -> None:
        saved = read_checkpoint(path, self.model)
        try:
            self.optimiser.load_state_dict(saved["optimiser"])
        except ValueError as error:
            raise StreamerError(
                f"expected {path} to be of a run with frozen_layers = {self.config.frozen_layers}, found "
                "an optimiser of other parameters: put the old number back, or take a fresh work folder"
            ) from error
        self.average = {name: value.to(self.accelerator.device) for name, value in saved["average"].items()}
        self.step = saved["step"]
        if self.accelerator.is_main_process:
            log.info("resumed at step %d", self.step)

    def save(self) -> None:
        """Write the checkpoint so that a kill at any moment leaves the old one or the new one."""
        if not self.accelerator.is_main_process:
            return
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

    def _wrap(self) -> None:
        """Make the model ready for this step: what does not learn yet needs no gradients.

        Several processes settle what they will exchange when they wrap it, so the thaw takes a new wrapping;
        the old one has to go first, or it would exchange everything a second time.
        """
        self._net = None
        self.accelerator.free_memory()
        for parameter in self._encoder:
            parameter.requires_grad_(self.step >= self.config.frozen_steps and not self.config.only_decoder)
        self._net = self.accelerator.prepare_model(self.model)

    def _train_step(self, batch: Batch) -> tuple[float, float]:
        c = self.config
        if self._net is None or self.step == c.frozen_steps:
            self._wrap()
        assert self._net is not None
        for group, rate in zip(self.optimiser.param_groups, self._rate(), strict=True):
            group["lr"] = rate
        kind = self.accelerator.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=c.precision == "bf16"):
            ctc, attention = self._net(batch, c.label_smoothing)
        self.accelerator.backward(c.ctc_weight * ctc + (1 - c.ctc_weight) * attention)
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
        path = self.folder / LOG
        if path.exists():
            rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [row for row in rows if row.endswith("\n") and json.loads(row)["step"] <= self.step]
            path.write_text("".join(kept), encoding="utf-8")

    def _share(self, step: int) -> Batch:
        """This process's batch of a step: each batch of the sequence is one process's."""
        return self.batches.batch(step * self.accelerator.num_processes + self.accelerator.process_index)

    def _means(self, ctc: float, attention: float, seconds: float) -> dict[str, float]:
        """Over all processes: mean losses, and seconds of audio in all."""
        mine = torch.tensor([ctc, attention, seconds], dtype=torch.float64, device=self.accelerator.device)
        means = self.accelerator.reduce(mine, "mean").tolist()
        audio = round(means[2] * self.accelerator.num_processes, 2)
        return {"ctc": means[0], "attention": means[1], "audio": audio}

    def run(self, progress: bool = True) -> None:
        """Train to the configured step; the next batch is made while this one trains."""
        main = self.accelerator.is_main_process
        self.model.train()
        self.accelerator.wait_for_everyone()  # all have read the checkpoint before one is written
        if main:
            self._forget_later()
        if self.config.trackers:
            settings = {k: v for k, v in dataclasses.asdict(self.config).items() if k != "trackers"}
            self.accelerator.init_trackers("streamer", settings)
        started = time.perf_counter()
        with (
            ThreadPoolExecutor(1, "batches") as maker,
            bars.progress(progress and main) as bar,
            open(self.folder / LOG if main else os.devnull, "a", encoding="utf-8") as out,
        ):
            task = bar.add_task("speech", total=self.config.steps, completed=self.step)
            upcoming = maker.submit(self._share, self.step)
            while self.step < self.config.steps:
                batch = upcoming.result()
                upcoming = maker.submit(self._share, self.step + 1)
                losses = self._means(*self._train_step(batch), batch.seconds)
                self.step += 1
                said = f"speech ctc {losses['ctc']:.2f} att {losses['attention']:.2f}"
                bar.update(task, completed=self.step, description=said)
                row = {"step": self.step, **losses, "elapsed": round(time.perf_counter() - started, 1)}
                print(json.dumps(row), file=out, flush=True)
                self.accelerator.log(losses, self.step)
                if self.step % self.config.save_every == 0:
                    self.save()
        self.save()
        self.accelerator.wait_for_everyone()
        if main:
            curve.draw(self.folder / LOG, self.folder / "curve.png")
        self.accelerator.end_training()
