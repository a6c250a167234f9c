"""Fit a head to features (Whisper-AT, Gong et al. 2023).

A fit is a function of its configuration and its data: killed at any moment and run again it goes on from
its checkpoint and ends with the same weights.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from streamer.backends.torch import choose_precision
from streamer.config import ModelConfig
from streamer.errors import ConfigError, StreamerError
from streamer.evaluation.tags_metrics import score_tags
from streamer.nn.heads import HEADS, Head, make_head
from streamer.training import devices
from streamer.training.speech import UNREADABLE
from streamer.training.tags.draws import DrawConfig, Draws
from streamer.training.tags.features import Features

log = logging.getLogger(__name__)

CHECKPOINT = "fit.pt"
CURVE = "curve.jsonl"
SCHEDULES = ("one-cycle", "steps")
PRECISIONS = ("auto", "fp32", "bf16")

_seeding = threading.Lock()
"""Fits run in threads, and a head's first weights come from torch's one generator."""


@dataclass(frozen=True, slots=True)
class TagConfig:
    """The head, and how it learns. An epoch is as many draws as there are windows."""

    head: str = "tl-tr"
    """last-mlp, wa-mlp, wa-tr or tl-tr."""
    width: int = 128
    """What the head works in; 0: the encoder's own width, as published."""
    epochs: int = 40
    lr: float = 1e-3
    schedule: str = "one-cycle"
    """one-cycle: up during `warmup`, then down to nothing. steps: × `decay` every `decay_every` epochs."""
    warmup: float = 0.1
    """Part of the steps in which the rate rises."""
    decay: float = 0.75
    decay_from: int = 15
    """Epoch of the first such step."""
    decay_every: int = 5
    betas: tuple[float, ...] = (0.95, 0.999)
    """Adam's."""
    weight_decay: float = 1e-2
    """Decoupled (AdamW)."""
    average_from: float = 1.0
    """The weights at the ends of the epochs after this part of the run are averaged; 1: only the last."""
    patience: int = 0
    """Stop after so many epochs without a better mAP on the validation fold; 0: never."""
    precision: str = "auto"
    """auto: bf16 on a GPU, or where the processor multiplies it in hardware (AMX); fp32; bf16."""
    save_every: float = 10.0
    """Seconds between two checkpoints; the result does not depend on it."""
    trackers: tuple[str, ...] = ()
    """Where curves go besides curve.jsonl: accelerate's names, such as tensorboard or wandb."""
    seed: int = 0
    draws: DrawConfig = field(default_factory=DrawConfig)

    def checked(self) -> TagConfig:
        """Itself. Raises ConfigError for a choice that there is not."""
        choices: list[tuple[str, str, Collection[str]]] = [
            ("head", self.head, HEADS),
            ("schedule", self.schedule, SCHEDULES),
            ("precision", self.precision, PRECISIONS),
            ("draws.mixup_targets", self.draws.mixup_targets, ("share", "union")),
        ]
        for name, value, known in choices:
            if value not in known:
                raise ConfigError(f"{name}: expected one of {', '.join(known)}, found '{value}'")
        if len(self.betas) != 2:
            raise ConfigError(f"betas: expected two numbers, found {len(self.betas)}")
        if self.epochs < 1 or self.draws.batch < 1:
            raise ConfigError(
                f"expected at least one epoch and batch, found {self.epochs}, {self.draws.batch}"
            )
        return self


@dataclass(frozen=True, slots=True)
class Fitted:
    """A head in evaluation mode on the CPU; its curve, a row an epoch; how many epochs it learnt."""

    head: Head
    curve: list[dict[str, float]]
    epochs: int


class HeadFit:
    """One fit of a head to everything but the folds `leave`.

    validation: features that are only looked at, after each epoch. folder: where checkpoint and curve are
    kept; without one nothing is written. Raises ConfigError, StreamerError where no window is left.
    """

    def __init__(
        self,
        features: Sequence[Features],
        config: TagConfig,
        leave: Collection[int] = (),
        validation: Sequence[Features] = (),
        folder: Path | None = None,
    ) -> None:
        self.config, self.folder, self.validation = config.checked(), folder, validation
        self.draws = Draws(features, config.draws, leave, config.seed)
        if not self.draws.count:
            raise StreamerError(f"expected windows to learn from outside the folds {list(leave)}, found none")
        _, n_layer, _, n_state = features[0].values.shape
        n_class = features[0].targets.shape[1]
        with _seeding, torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            head = make_head(config.head, n_layer, n_state, n_class, config.width or None)
        if config.width:
            # What its norm could learn the matrix behind it can; so no gradient has to reach the input.
            head.down_layer[0].requires_grad_(False)
        self.per_epoch = max(1, self.draws.count // config.draws.batch)
        self.steps = self.per_epoch * config.epochs
        self.accelerator = devices.accelerator(folder or Path(), config.trackers)
        self.head: Head = head.to(self.accelerator.device)
        learning = [p for p in head.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            learning, config.lr, betas=(config.betas[0], config.betas[1]), weight_decay=config.weight_decay
        )
        self.step, self.curve, self._losses = 0, list[dict[str, float]](), 0.0
        self._sum: dict[str, Tensor] = {}
        self._summed = 0
        self._best: dict[str, Any] = {"epoch": 0, "score": -math.inf, "weights": None}
        self._resume()

    @property
    def identity(self) -> str:
        """Changes with the configuration and the data: the name of the folder that a fit may resume in."""
        return fit_identity(self.config, self.draws.identity)

    # ------------------------------------------------------------ checkpoints

    def _state(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "head": self.head.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "curve": self.curve,
            "losses": self._losses,
            "sum": self._sum,
            "summed": self._summed,
            "best": self._best,
        }

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT if self.folder else None
        if path is None or not path.exists():
            return
        try:
            saved: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.accelerator.device)
            if saved["identity"] != self.identity:
                log.warning("%s is of another fit: starting anew", path)
                return
            self.head.load_state_dict(saved["head"])
            self.optimiser.load_state_dict(saved["optimiser"])
        except UNREADABLE as error:
            raise StreamerError(
                f"expected {path} to be a checkpoint of a head: {str(error)[:200]}. Delete it to start anew"
            ) from error
        self.step, self.curve, self._losses = saved["step"], saved["curve"], saved["losses"]
        self._sum, self._summed, self._best = saved["sum"], saved["summed"], saved["best"]

    def save(self) -> None:
        """Write checkpoint and curve so that a kill at any moment leaves the old ones or the new ones."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = self.folder / "fit.part"
        torch.save(self._state(), scratch)
        scratch.replace(self.folder / CHECKPOINT)
        rows = "".join(json.dumps(row) + "\n" for row in self.curve)
        (self.folder / CURVE).write_text(rows, encoding="utf-8")

    # ------------------------------------------------------------ learning

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        c = self.config
        if c.schedule == "steps":
            over = step // self.per_epoch - c.decay_from
            factor = c.decay ** (over // max(1, c.decay_every) + 1) if over >= 0 else 1.0
            return c.lr * factor * min(1.0, (step + 1) / max(1.0, c.warmup * self.steps))
        rising = c.warmup * self.steps
        if step < rising:
            return c.lr * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / rising)))
        done = (step - rising) / max(1.0, self.steps - rising)
        return c.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def _learn(self) -> float:
        x, y = self.draws.batch(self.step)
        device = self.accelerator.device
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step)
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bf16(self.config, device)):
            logits = self.head(x.to(device))
        loss = F.binary_cross_entropy_with_logits(logits.float(), y.to(device))
        self.optimiser.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.optimiser.step()
        return loss.item()

    def run(self, tell: Callable[[HeadFit], None] = lambda _: None) -> Fitted:
        """Learn to the end; `tell` is called after each step."""
        if self.config.trackers:
            settings = dataclasses.asdict(self.config) | {"draws": str(self.config.draws)}
            self.accelerator.init_trackers("streamer-tags", {k: str(v) for k, v in settings.items()})
        self.head.train()
        saved = time.monotonic()
        while self.step < self.steps and not self._is_over():
            self._losses += self._learn()
            self.step += 1
            if self.step % self.per_epoch == 0:
                self._end_epoch()
            if time.monotonic() - saved >= self.config.save_every:
                self.save()
                saved = time.monotonic()
            tell(self)
        self.save()
        self.accelerator.end_training()
        if self._best["weights"] is not None:
            self.head.load_state_dict(self._best["weights"])
        elif self._summed:
            self.head.load_state_dict(self._averaged())
        head: Head = self.head.cpu().eval().requires_grad_(False)
        return Fitted(head, self.curve, int(self._best["epoch"]) or self.step // self.per_epoch)

    def _is_over(self) -> bool:
        epoch, patience = self.step // self.per_epoch, self.config.patience
        return bool(patience and self.validation and epoch - self._best["epoch"] >= patience)

    def _averaged(self) -> dict[str, Tensor]:
        return {name: total / self._summed for name, total in self._sum.items()}

    def _end_epoch(self) -> None:
        epoch = self.step // self.per_epoch
        row = {"epoch": epoch, "loss": self._losses / self.per_epoch, "lr": self.rate(self.step - 1)}
        self._losses = 0.0
        if epoch > self.config.average_from * self.config.epochs:
            for name, value in self.head.state_dict().items():
                self._sum[name] = self._sum[name] + value if self._summed else value.detach().clone()
            self._summed += 1
        if self.validation:
            row |= self._validate(epoch)
        self.curve.append(row)
        self.accelerator.log(row, epoch)

    def _validate(self, epoch: int) -> dict[str, float]:
        current = {name: value.detach().clone() for name, value in self.head.state_dict().items()}
        weights = self._averaged() if self._summed else current
        self.head.load_state_dict(weights)
        got, wanted = score_all(self.head.eval(), self.validation)
        self.head.load_state_dict(current)
        self.head.train()
        clipped = np.clip(got, 1e-7, 1 - 1e-7)
        loss = -np.mean(np.where(wanted, np.log(clipped), np.log1p(-clipped)))
        score = score_tags(wanted, got, [""] * got.shape[1]).mean_ap
        if self.config.patience and (score > self._best["score"] or self._best["weights"] is None):
            self._best = {"epoch": epoch, "score": float(score), "weights": weights}
        return {"validation_loss": float(loss), "validation_map": float(score)}


def in_bf16(config: TagConfig, device: torch.device) -> bool:
    """Whether a fit computes in bfloat16 there."""
    if config.precision == "auto" and device.type == "cuda":
        return True
    chosen = choose_precision(ModelConfig.model_validate({"precision": config.precision}))
    return chosen == torch.bfloat16


@contextmanager
def plain_attention(config: TagConfig) -> Iterator[None]:
    """For fits in bfloat16 on a CPU: torch's fused attention is a third of a step there.

    The choice is torch's, not a thread's, so it is made once around all fits that run side by side.
    """
    cpu = torch.device("cpu")
    if torch.cuda.is_available() or not in_bf16(config, cpu):
        yield
        return
    with sdpa_kernel([SDPBackend.MATH]):
        yield


def fit_identity(config: TagConfig, data: str) -> str:
    """What a fit is a function of, in 16 hexadecimal digits. Trackers and saving change nothing."""
    plain = dataclasses.replace(config, trackers=(), save_every=0.0)
    return blake2b(f"{plain}|{data}".encode(), digest_size=8).hexdigest()


@torch.inference_mode()
def scores(head: Head, features: Features, batch: int = 256) -> NDArray[np.float32]:
    """Probabilities (N, C) of every label."""
    device = next(head.parameters()).device
    parts = [
        head(features.take(np.arange(start, min(start + batch, len(features)))).to(device).float()).sigmoid()
        for start in range(0, len(features), batch)
    ]
    out: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    return out


def score_all(head: Head, features: Sequence[Features]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Probabilities and truth of several features, one below the other, (N, C)."""
    got = np.concatenate([scores(head, f) for f in features])
    return got, np.concatenate([f.targets for f in features])
