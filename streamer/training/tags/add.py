"""One more label for a head that is there, from a few recordings: `streamer train tags --add`.

The head's body stays as it is. The new label is one more row of its last matrix, fitted by logistic
regression on what that layer sees of the recordings (in many views) against what it must not be: windows
that the head remembers (`replay`), sounds from formulas, hiss and silence. So every other label's score is
what it was. The threshold comes from leaving each recording out in turn.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from streamer.errors import ConfigError, ModelError, StreamerError
from streamer.labels import Label
from streamer.nn.checkpoint import load, locate
from streamer.nn.definition import HeadInfo
from streamer.nn.head_checkpoint import encoder_info, load_head, locate_head, save_head
from streamer.nn.heads import Head, make_head
from streamer.tagging.labels import by_name
from streamer.training.corpus import Clip
from streamer.training.tags.config import AddConfig
from streamer.training.tags.encoders import FrozenEncoder, load_encoder
from streamer.training.tags.features import Features
from streamer.training.tags.names import known_label, own_label
from streamer.training.tags.replay import Replay, last_inputs, read_replay, write_replay
from streamer.training.tags.tables import Skipped
from streamer.training.tags.windows import Files, Planner, Window, WindowConfig

FEWEST = 3
"""Recordings without which nothing can be left out in turn."""
FOLDS = 5
"""Parts of the negatives that are left out in turn."""


@dataclass(frozen=True, slots=True)
class Target:
    """The head that gets a label, and what lies beside it."""

    info: HeadInfo
    head: Head
    labels: tuple[Label, ...]
    thresholds: tuple[float, ...]
    replay: Replay | None


@dataclass(frozen=True, slots=True)
class Added:
    """What came of it. recall, false_alarms: shares at the threshold, of what was left out in turn."""

    label: Label
    recordings: int
    windows: int
    negatives: int
    threshold: float
    recall: float
    false_alarms: float
    skipped: tuple[Skipped, ...]
    seconds: float


def read_target(name_or_path: str | Path) -> Target:
    """A head by name or path, or the own head of a model. Raises ModelError."""
    try:
        place = locate_head(name_or_path)
    except ModelError as no_head:
        try:
            model = load(name_or_path)
        except ModelError:
            raise no_head from None
        if model.tags is None or model.info.tags is None:
            raise ModelError(
                f"the model {model.name} has no tag head that a label could be added to"
            ) from None
        info = HeadInfo(
            name=model.name,
            licence=model.info.licence,
            data=model.info.provenance,
            encoder=encoder_info(model.name, model.model),
            tags=model.info.tags,
        )
        replay = read_replay(locate(name_or_path), model.tags)
        return Target(info, model.tags, model.labels, model.thresholds, replay)
    found = load_head(place)
    return Target(found.info, found.head, found.labels, found.thresholds, read_replay(place, found.head))


def add_label(
    name: str,
    recordings: Sequence[Path],
    target: Target,
    out: Path,
    config: AddConfig,
    *,
    encoder: FrozenEncoder | None = None,
    seed: int = 0,
) -> Added:
    """Write a head to `out` that hears `name` as well.

    Raises ConfigError for a label that the head has, StreamerError where fewer than FEWEST recordings can be
    read, ModelError where the encoder is not the head's.
    """
    began = time.perf_counter()
    label = known_label(name) or own_label(name)
    if by_name(label.name, target.labels) is not None:
        raise ConfigError(f"the head {target.info.name} hears {label.name!r} already: take another name")
    encoder = encoder or load_encoder(target.info.encoder.name)
    wanted = target.info.encoder.fingerprint
    if wanted and encoder.info.fingerprint != wanted:
        raise ModelError(
            f"expected the encoder of {target.info.encoder.name}, which the head {target.info.name} reads, "
            f"found that of {encoder.info.name}: name the right one with --encoder"
        )
    inputs, clip, skipped = _positives(recordings, label, target.head, encoder, config, seed)
    replay = target.replay or Replay(
        np.zeros((0, target.head.inner), np.float32), np.zeros((0, len(target.labels)), np.bool_)
    )
    made = _negatives(label, target.head, encoder, config, seed)
    negatives = np.concatenate([replay.inputs, made])
    left = leave_out(inputs, clip, negatives, config.strength)
    threshold, recall, alarms = choose_threshold(*left, clip, config)
    weight, bias = fit_row(inputs, negatives, config.strength)
    head = with_row(target.head, weight, bias)
    thresholds = dict(zip([one.name for one in target.labels], target.thresholds, strict=True))
    tags = target.info.tags.model_copy(
        update={"thresholds": {**thresholds, label.name: threshold}, "labels": "labels.csv"}
    )
    info = target.info.model_copy(
        update={
            "name": out.name,
            "tags": tags,
            "data": f"{target.info.data}; {len(set(clip))} recordings of {label.name} added to it",
        }
    )
    save_head(out, info, head, (*target.labels, label), "fp16" if _fits_half(head) else "fp32")
    known = Replay(replay.inputs, np.pad(replay.targets, ((0, 0), (0, 1)))).joined(
        inputs, np.eye(head.n_class, dtype=np.bool_)[[-1] * len(inputs)]
    )
    write_replay(out, known)
    return Added(
        label=label,
        recordings=len(set(clip)),
        windows=len(inputs),
        negatives=len(negatives),
        threshold=threshold,
        recall=recall,
        false_alarms=alarms,
        skipped=tuple(skipped),
        seconds=time.perf_counter() - began,
    )


def _positives(
    recordings: Sequence[Path],
    label: Label,
    head: Head,
    encoder: FrozenEncoder,
    config: AddConfig,
    seed: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64], list[Skipped]]:
    """Inputs (N, inner) of windows in which the recordings are heard, and which recordings (N,)."""
    clips = [Clip(str(path), str(path), "added", labels=(label.name,)) for path in recordings]
    windows = WindowConfig(views=config.views, speech=0.0, background=0.0, talk=0, empty=0)
    planner = Planner(Files(), clips, (), windows, seed)
    inputs, clip, skipped = [], [], []
    for i, one in enumerate(clips):
        try:
            found = _inputs(list(planner.of_clip(i)), head, encoder)
        except StreamerError as error:
            skipped.append(Skipped(one.path, str(error).removeprefix(f"{one.path}: ")))
            continue
        inputs.append(found)
        clip += [i] * len(found)
    if len(inputs) < FEWEST:
        raise StreamerError(
            f"expected at least {FEWEST} recordings of {label.name!r} that can be read, found {len(inputs)}. "
            + "; ".join(f"{one.where}: {one.why}" for one in skipped[:3])
        )
    return np.concatenate(inputs), np.array(clip, np.int64), skipped


def _negatives(
    label: Label, head: Head, encoder: FrozenEncoder, config: AddConfig, seed: int
) -> NDArray[np.float32]:
    """Inputs of sounds from formulas other than the label's own, of hiss and of silence."""
    windows = WindowConfig(views=1, made=config.negatives, talk=0, empty=3 * config.negatives)
    others = list(Planner(Files(), (), (), windows, seed).others())
    kept = [window for window in others if label.name not in window.labels]
    return _inputs(kept, head, encoder) if kept else np.zeros((0, head.inner), np.float32)


def _inputs(windows: Sequence[Window], head: Head, encoder: FrozenEncoder) -> NDArray[np.float32]:
    """What the head's last layer sees of the windows in which their recordings are heard."""
    out = []
    for length in sorted({window.length for window in windows}):
        rendered = [window.render() for window in windows if window.length == length]
        samples = [audio for audio, heard in rendered if heard]
        for start in range(0, len(samples), 16):
            values = encoder.features(samples[start : start + 16])
            rows = np.arange(len(values))
            none = np.zeros((len(values), 0), np.bool_)
            out.append(last_inputs(head, Features(values, rows, none, rows, rows)))
    return np.concatenate(out) if out else np.zeros((0, head.inner), np.float32)


def fit_row(
    positives: NDArray[np.float32], negatives: NDArray[np.float32], strength: float
) -> tuple[NDArray[np.float32], float]:
    """Logistic regression, both sides weighing the same, with an L2 penalty; weight (inner,) and bias.

    The inputs come out of a norm, so that one penalty fits all of them.
    """
    x = torch.from_numpy(np.concatenate([positives, negatives])).double()
    y = torch.cat([torch.ones(len(positives)), torch.zeros(len(negatives))]).double()
    share = torch.where(y > 0, 0.5 / max(1, len(positives)), 0.5 / max(1, len(negatives)))
    scale = x.std(0).clamp_min(1e-3)
    weight = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = (x / scale) @ weight + bias
        value = (share * F.binary_cross_entropy_with_logits(logits, y, reduction="none")).sum()
        value = value + strength * weight.square().sum() / 2
        value.backward()
        return value

    optimiser.step(loss)
    row: NDArray[np.float32] = (weight / scale).detach().float().numpy()
    return row, float(bias.detach())


def leave_out(
    positives: NDArray[np.float32],
    clip: NDArray[np.int64],
    negatives: NDArray[np.float32],
    strength: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of every window by a fit that saw neither its recording nor its part of the negatives."""
    part = np.arange(len(negatives)) % FOLDS
    right = np.zeros(len(positives))
    wrong = np.zeros(len(negatives))
    for turn, one in enumerate(np.unique(clip)):
        out = part == turn % FOLDS
        weight, bias = fit_row(positives[clip != one], negatives[~out], strength)
        right[clip == one] = _sigmoid(positives[clip == one] @ weight + bias)
        if turn < FOLDS:
            wrong[out] = _sigmoid(negatives[out] @ weight + bias)
    for rest in range(len(np.unique(clip)), FOLDS):
        weight, bias = fit_row(positives, negatives[part != rest], strength)
        wrong[part == rest] = _sigmoid(negatives[part == rest] @ weight + bias)
    return right, wrong


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = 1 / (1 + np.exp(-x.astype(np.float64).clip(-60, 60)))
    return out


def choose_threshold(
    right: NDArray[np.float64], wrong: NDArray[np.float64], clip: NDArray[np.int64], config: AddConfig
) -> tuple[float, float, float]:
    """The lowest threshold within the bounds that lets few enough negatives through, in steps of 0.001.

    Returns it with the share of recordings of which at least half the windows are above it, and of
    negatives above it.
    """
    grid = np.round(np.arange(round(1000 * config.lowest), round(1000 * config.highest) + 1) / 1000, 3)
    alarms = np.array([(wrong >= t).mean() if len(wrong) else 0.0 for t in grid])
    allowed = np.flatnonzero(alarms <= config.false_alarms)
    at = int(allowed[0]) if len(allowed) else len(grid) - 1
    found = [(right[clip == one] >= grid[at]).mean() >= 0.5 for one in np.unique(clip)]
    return float(grid[at]), float(np.mean(found)), float(alarms[at])


def with_row(head: Head, weight: NDArray[np.float32], bias: float) -> Head:
    """The same head with one more output; all others keep their weights to the bit."""
    bigger = make_head(head.kind, head.n_layer, head.n_state, head.n_class + 1, head.width)
    tensors = dict(head.state_dict())
    row = torch.from_numpy(weight)[None].half().float()
    tensors["mlp_layer.1.weight"] = torch.cat([tensors["mlp_layer.1.weight"], row])
    tensors["mlp_layer.1.bias"] = torch.cat(
        [tensors["mlp_layer.1.bias"], torch.tensor([bias]).half().float()]
    )
    bigger.load_state_dict(tensors)
    return bigger.eval().requires_grad_(False)


def _fits_half(head: Head) -> bool:
    """Whether float16 holds every weight as it is."""
    return all(torch.equal(t, t.half().float()) for t in head.state_dict().values())
