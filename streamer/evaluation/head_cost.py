"""What a tag head costs beside the encoder pass that it reads: parameters, operations, time.

Operations are counted by torch on tensors without memory (2 for a multiplication with its addition; norms,
activations and means are not counted). Times are medians of runs in turn, so that a busy machine slows
all of them: trust the shares more than the milliseconds. Weights are random, which no time depends on.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from streamer.errors import ConfigError, ModelError
from streamer.evaluation.turns import in_turn
from streamer.nn.definition import FILE, read_info
from streamer.nn.heads import HEADS, make_head
from streamer.nn.whisper import AudioEncoder, WhisperDims, pool_frames
from streamer.resources import find_model, nearest
from streamer.timebase import FRAMES_PER_SECOND, POOL

CLASSES = 527
"""Outputs of every head: AudioSet's."""

SIZES = {"tiny": (4, 384, 6), "base": (6, 512, 8), "small": (12, 768, 12), "medium": (24, 1024, 16)}
SIZES |= {"large": (32, 1280, 20)}
"""Encoder layers, width and attention heads of the official sizes."""

ENCODER = "encoder"
POOLING = "pooling"


@dataclass(frozen=True, slots=True)
class Cost:
    """One row. `part`: ENCODER, POOLING (every layer's outputs over POOL frames), or a kind of head.

    context: seconds. flops_share, time_share: per cent of the encoder's pass over the same context.
    """

    encoder: str
    context: float
    part: str
    width: int | None
    parameters: int
    mflops: float
    ms: float
    flops_share: float
    time_share: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. widths: None is the encoder's own; others count where they are narrower."""

    encoders: Sequence[str] = ("tiny", "base", "bundled")
    contexts: Sequence[float] = (5.0, 10.0, 30.0)
    heads: Sequence[str] = tuple(HEADS)
    widths: Sequence[int | None] = (None, 128)
    repeat: int = 20
    dtype: torch.dtype = torch.float32


def dims_of(name: str) -> WhisperDims:
    """Sizes of an official encoder, or of a model of ours by name or path. Raises ConfigError for others."""
    if name in SIZES:
        layers, width, heads = SIZES[name]
        return WhisperDims(80, 1500, width, heads, layers, 1, 1, 2, 1, 1)
    try:
        path = find_model(name)
    except ModelError as error:
        raise ConfigError(
            f"expected one of {', '.join(SIZES)} or a model here, found {name!r}.{nearest(name, SIZES)}"
        ) from error
    if not (path / FILE).is_file():
        raise ConfigError(f"expected a model with {FILE}, found {path}: for others name the size")
    return read_info(path).dims.whisper()


@torch.inference_mode()
def measure(plan: Plan, progress: Callable[[], None] = lambda: None) -> Iterator[Cost]:
    """Every row, the encoder's first in each of its contexts. `progress` is called after each context."""
    for name in plan.encoders:
        dims = dims_of(name)
        for seconds in plan.contexts:
            yield from _context(plan, name, dims, seconds)
            progress()


def _context(plan: Plan, name: str, dims: WhisperDims, seconds: float) -> Iterator[Cost]:
    """The rows of one encoder and context."""
    frames = min(round(seconds * FRAMES_PER_SECOND), dims.n_audio_ctx)
    shape = (1, dims.n_audio_layer, frames // POOL, dims.n_audio_state)
    if not shape[2]:
        raise ConfigError(f"expected contexts of at least {POOL / FRAMES_PER_SECOND} s, found {seconds:g} s")
    parts: list[tuple[str, int | None, nn.Module, Tensor]] = [
        (ENCODER, None, AudioEncoder(dims), torch.randn(1, dims.n_mels, 2 * frames)),
        (POOLING, None, _Pooling(), torch.randn(dims.n_audio_layer, 1, frames, dims.n_audio_state)),
    ]
    narrow = [w for w in plan.widths if w is None or w < dims.n_audio_state]
    for kind in plan.heads:
        for width in narrow:
            head = make_head(kind, dims.n_audio_layer, dims.n_audio_state, CLASSES, width)
            parts.append((kind, width, head, torch.randn(shape)))
    ready = [(module.eval().to(plan.dtype), x.to(plan.dtype)) for _, _, module, x in parts]
    taken = in_turn([lambda m=m, x=x: m(x) for m, x in ready], plan.repeat)  # type: ignore[misc]
    times = [statistics.median(mine.wall) for mine in taken]
    operations = [flops(module, x) for module, x in ready]
    for (part, width, module, _), ms, count in zip(parts, times, operations, strict=True):
        yield Cost(
            encoder=name,
            context=seconds,
            part=part,
            width=width,
            parameters=sum(p.numel() for p in module.parameters()),
            mflops=count / 1e6,
            ms=ms,
            flops_share=100 * count / operations[0],
            time_share=100 * ms / times[0],
        )


def flops(module: nn.Module, x: Tensor) -> int:
    """Operations of one call, of matrix products and convolutions, without computing them."""
    bare = {name: tensor.to("meta") for name, tensor in module.state_dict().items()}
    with FlopCounterMode(display=False) as counter:
        torch.func.functional_call(module, bare, (x.to("meta"),))
    return int(counter.get_total_flops())


class _Pooling(nn.Module):
    """What the encoder does for the heads: (L, B, T, D) -> (B, L, T // POOL, D)."""

    def forward(self, outputs: Tensor) -> Tensor:
        return torch.stack([pool_frames(x) for x in outputs], dim=1)
