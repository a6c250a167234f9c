"""The decoder on a GPU, one graph for each shape: a token costs one launch instead of dozens.

Whatever has the shape of `nn.one_token` (one token in each row, all about one encoding) is recorded once for
each number of rows and round number of frames (`torch.cuda.CUDAGraph`) and played back from then on. What is
given first, the rest, and every other device go through `Whisper.step` as ever. A graph's first result is
compared with that; where it differs, or nothing can be recorded, there is one warning and no graph any more.

Several threads may decode at once. They share the weights, and the knowledge that graphs do not work. Each
cache has a desk, with memory, graphs and results of its own, which passes on once the cache is gone.
Only the choice of a desk and the recording are under a lock, the latter under one of the whole process.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamer.nn.one_token import Desk, next_token
from streamer.nn.silence import Thinned
from streamer.nn.whisper import DecoderCache, Whisper, WhisperDims
from streamer.timebase import ceil_to

Floats = NDArray[np.float32]
Run = Callable[[], tuple[Tensor, Tensor]]
"""A step on a desk: logits (rows, 1, n_vocab), weights (rows, layers, heads, 1, frames)."""
Recorder = Callable[[Run], Run]
"""What does the same again, on the same memory."""

FRAMES = 500
"""Encodings count as a multiple of this: three shapes for each number of rows, not one for each length."""
ROWS = 8
"""More rows than that are not recorded: each of them takes memory on every desk."""
GRAPHS = 16
"""Of one desk; the one whose last use is the longest ago makes room."""
DESKS = 4
"""Caches that may go on token by token at once; further ones go through `Whisper.step`."""

WARM_UP = 3
"""Runs before a recording, as PyTorch's notes have it: libraries set themselves up in the first ones."""

log = logging.getLogger(__name__)
_recording = threading.Lock()


class CudaRecorder:
    """Records work on a CUDA device, as PyTorch's notes on CUDA graphs say.

    Warm-up and recording are on one side stream, and all graphs of a recorder share memory for what they
    compute: of its results, only those of the last one played back are there.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Run) -> Run:
        """Record. Raises RuntimeError where something in it cannot be recorded."""
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UP):
                    run()
            torch.cuda.current_stream().wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads may go on meanwhile, and allocate: that is no error of this recording.
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                results = run()

        def play_back() -> tuple[Tensor, Tensor]:
            graph.replay()
            return results

        return play_back


def recorder(device: torch.device) -> Recorder:
    """A `CudaRecorder`; for a device without graphs one that does the same work over and over."""
    return CudaRecorder(device) if device.type == "cuda" else lambda run: run


class GraphedWriter:
    """A Whisper's decoder that plays back what it can. Writes as `Whisper` does (`asr.decoder.Writer`)."""

    def __init__(self, whisper: Whisper, make: Callable[[torch.device], Recorder] = recorder) -> None:
        """make: a recorder for each desk."""
        self._whisper, self._make = whisper, make
        self._choosing = threading.Lock()
        self._desks: list[_Desk] = []
        self._works = True

    @property
    def dims(self) -> WhisperDims:
        """See `Whisper`."""
        return self._whisper.dims

    @property
    def alignment_heads(self) -> Sequence[tuple[int, int]]:
        """See `Whisper`."""
        return self._whisper.alignment_heads

    def listen(self, states: Tensor | Thinned) -> DecoderCache:
        """See `Whisper`."""
        return self._whisper.listen(states)

    @torch.inference_mode()
    def step(self, tokens: NDArray[np.int64], cache: DecoderCache) -> tuple[Floats, Floats]:
        """See `Whisper`."""
        desk = self._desk_of(cache) if self._works and self._has_shape(tokens, cache) else None
        if desk is None:
            return self._whisper.step(tokens, cache)
        if not desk.knows(cache):
            return self._first(desk, tokens, cache)
        found = desk.step(tokens, cache)
        desk.lend(cache)
        cache.length += 1
        return found

    def _first(self, desk: _Desk, tokens: NDArray[np.int64], cache: DecoderCache) -> tuple[Floats, Floats]:
        """Record, and compare with `Whisper.step`, which gives the result and writes into the cache."""
        try:
            desk.record(cache, self._make)
            found = desk.step(tokens, cache)
        except RuntimeError as error:
            self._give_up(f"recording failed ({error})")
            return self._whisper.step(tokens, cache)
        expected = self._whisper.step(tokens, cache)
        pairs = zip(found, expected, strict=True)
        if not all(_alike(*pair, self._whisper.dtype) for pair in pairs):
            self._give_up("what was played back differs from what was computed")
        return expected

    def _has_shape(self, tokens: NDArray[np.int64], cache: DecoderCache) -> bool:
        rows, n = tokens.shape
        about_one = len(cache.cross[0][0]) == 1 and len(cache.own[0][0]) == rows
        return n == 1 and rows <= ROWS and about_one and cache.length < self.dims.n_text_ctx

    def _desk_of(self, cache: DecoderCache) -> _Desk | None:
        """A cache's own desk, or one that is free; None where all are taken."""
        with self._choosing:
            mine = [desk for desk in self._desks if desk.owner is cache]
            free = mine or [desk for desk in self._desks if desk.owner is None]
            if not free and len(self._desks) < DESKS:
                free = [_Desk(self._whisper)]
                self._desks += free
            if free:
                free[0].claim(cache)
            return free[0] if free else None

    def _give_up(self, why: str) -> None:
        with self._choosing:
            works, self._works = self._works, False
            self._desks.clear()
        if works:
            log.warning("The decoder goes on without CUDA graphs: %s.", why)


class _Desk:
    """A desk and the graphs that were recorded on it."""

    def __init__(self, whisper: Whisper) -> None:
        self._whisper = whisper
        self._desk: Desk | None = None
        self._record: Recorder | None = None
        self._graphs: OrderedDict[tuple[int, int], Run] = OrderedDict()
        self._owner: weakref.ref[DecoderCache] | None = None

    @property
    def owner(self) -> DecoderCache | None:
        """Whose it is; None where that is gone."""
        return None if self._owner is None else self._owner()

    def claim(self, cache: DecoderCache) -> None:
        """It is this one's for as long as that lives."""
        self._owner = weakref.ref(cache)

    def knows(self, cache: DecoderCache) -> bool:
        """Whether a graph of its shape is there."""
        return self._shape(cache) in self._graphs

    def record(self, cache: DecoderCache, make: Callable[[torch.device], Recorder]) -> None:
        """A graph of a cache's shape, before that is let in: what is run meanwhile writes into the desk."""
        rows, frames = self._shape(cache)
        decoder = self._whisper.decoder
        with _recording:
            if self._desk is None or self._record is None or self._desk.rows < rows:
                self._graphs.clear()
                self._desk = Desk(decoder, rows, self._whisper.dims.n_audio_ctx)
                self._record = make(decoder.positional_embedding.device)
            while len(self._graphs) >= GRAPHS:
                self._graphs.popitem(last=False)
            slots = self._desk.slots(rows, frames)
            self._graphs[rows, frames] = self._record(lambda: next_token(decoder, slots))

    def step(self, tokens: NDArray[np.int64], cache: DecoderCache) -> tuple[Floats, Floats]:
        """See `Whisper.step`; the cache is as long as before, and what is new in it lies on the desk."""
        assert self._desk is not None
        shape = self._shape(cache)
        self._graphs.move_to_end(shape)
        self._desk.let_in(cache)
        self._desk.place(tokens, cache.length)
        logits, weights = self._graphs[shape]()
        heard = weights[..., : cache.cross[0][0].shape[2]]
        # Copies: the next one that is played back is written over these.
        return logits.to("cpu", copy=True).numpy(), heard.to("cpu", copy=True).numpy()

    def lend(self, cache: DecoderCache) -> None:
        """See `Desk.lend`."""
        assert self._desk is not None
        self._desk.lend(cache)

    def _shape(self, cache: DecoderCache) -> tuple[int, int]:
        frames = ceil_to(cache.cross[0][0].shape[2], FRAMES)
        return len(cache.own[0][0]), min(frames, self._whisper.dims.n_audio_ctx)


def _alike(found: Floats, expected: Floats, dtype: torch.dtype) -> bool:
    """Whether they differ by rounding only: half of the digits of the precision that computed them agree."""
    tolerance: float = torch.finfo(dtype).eps ** 0.5
    return float(np.linalg.norm(found - expected)) <= tolerance * float(np.linalg.norm(expected))
