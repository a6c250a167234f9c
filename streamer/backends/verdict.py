"""A verdict on what computes a model beside torch: how long each takes, how far from torch on real sound."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from streamer.backends.base import Floats, Network
from streamer.config import ModelConfig
from streamer.resources import find_sample
from streamer.timebase import FULL_CONTEXT, SAMPLE_RATE, TOKEN

if TYPE_CHECKING:
    from streamer.backends.onnx import OnnxNetwork, Runtime

SECONDS = 5.0
"""Of audio in a pass that is measured."""
WINDOWS = 9
"""So many passes over the sample recording are compared, if it is long enough."""
TOKENS = 20
"""So many are written of each at most, where a decoder writes."""
ROUNDS, FEW_ROUNDS = 7, 2
"""So often each is timed; less often where a pass sees 30 s."""
TOLERANCE = 1.1
"""ONNX may take so many times torch's time: it starts sooner and needs less memory."""
MARGIN = 1.1
"""OpenVINO has to be so many times as quick as ONNX Runtime: it starts later and needs more memory."""
FURTHEST = 0.01
"""Sum of the differences of a frame's probabilities, on average, beyond which results count as others."""
FURTHEST_TOKEN, FURTHEST_SHARE = 0.03, 0.12
"""The same of a decoder's next token's; of one that is unsure, a share of what it leaves open. One that left
0.48 open was 0.051 away in integers over thinned silence, and got as many words wrong."""
FURTHEST_SCORE = 0.1
"""Difference of any sound's score beyond which they do."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What was measured of one that is not torch.

    ms: of a pass with its text. apart, scores_apart: how far from torch probabilities of text were on
    average, and scores of sounds at most.
    """

    ms: float
    apart: float
    scores_apart: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a measurement came to.

    torch_ms: of a pass with its text. openvino: None where there is none. writes: whether the text is a
    decoder's. thinned: whether the silence was (see `nn.silence`) in which torch heard all. doubt: what torch
    left open, 1 minus the likeliest's probability, on average.
    """

    torch_ms: float
    onnx: Trial
    openvino: Trial | None = None
    writes: bool = False
    thinned: bool = False
    doubt: float = 0.0

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Verdict:
        """From what `dataclasses.asdict` made of it. Raises KeyError and TypeError for anything else."""
        openvino = Trial(**kept["openvino"]) if kept["openvino"] else None
        about = {name: kept[name] for name in ("writes", "thinned", "doubt")}
        return cls(kept["torch_ms"], Trial(**kept["onnx"]), openvino, **about)

    @property
    def backend(self) -> Literal["torch", "onnx", "openvino"]:
        """What is to compute."""
        limit = TOLERANCE * self.torch_ms
        onnx = self.onnx.ms if self.same(self.onnx) else math.inf
        if (other := self.openvino) and self.same(other) and other.ms <= min(limit, onnx / MARGIN):
            return "openvino"
        return "onnx" if onnx <= limit else "torch"

    def same(self, trial: Trial) -> bool:
        """Whether it said what torch did."""
        furthest = max(FURTHEST_TOKEN, FURTHEST_SHARE * self.doubt) if self.writes else FURTHEST
        return trial.apart <= furthest and trial.scores_apart <= FURTHEST_SCORE


@dataclass(frozen=True, slots=True)
class _Said:
    """Probabilities (steps, tokens) of text, and scores of sounds; tokens: what a decoder wrote."""

    text: Floats
    scores: Floats
    tokens: list[int]


def measure(
    config: ModelConfig,
    networks: Mapping[Runtime, OnnxNetwork],
    threads: int,
    bounds: tuple[Sequence[int], int] | None,
    hears: bool,
    thinned: bool = False,
) -> Verdict:
    """All in turn with torch, on the same recording.

    networks: that of ONNX Runtime, and any others, by what computes their encoder. bounds: what a decoder
    begins and ends with; None where the CTC branch writes. hears: sounds as well. thinned: see Verdict.
    """
    import torch

    from streamer.audio.decode import decode_file
    from streamer.backends.torch import choose_precision, network_of
    from streamer.nn.checkpoint import load

    torch.set_num_threads(threads)
    model = load(config.name, config.tags or None)
    model = replace(model, info=model.info.filled(config.silence))
    reference = network_of(model, choose_precision(config))
    size = round(SECONDS * SAMPLE_RATE)
    rounds = FEW_ROUNDS if reference.context(size) == FULL_CONTEXT else ROUNDS
    heard = decode_file(find_sample())[: WINDOWS * size]
    views = heard[: len(heard) // size * size].reshape(-1, size)
    apart: list[list[tuple[float, float]]] = [[] for _ in networks]
    doubts = []
    for view in views:
        wanted = _say(reference, view, bounds, hears)
        doubts.append(1 - wanted.text.max(-1).mean())
        for other, mine in zip(networks.values(), apart, strict=True):
            found = _say(other, view, bounds, hears, wanted.tokens)
            text = float(np.abs(found.text - wanted.text).sum(-1).mean())
            mine.append((text, float(np.abs(found.scores - wanted.scores).max(initial=0))))
    taken: list[list[float]] = [[], *([] for _ in networks)]
    for _ in range(rounds):
        for network, times in zip((reference, *networks.values()), taken, strict=True):
            began = time.perf_counter()
            _say(network, heard[:size], bounds, hears)
            times.append(1000 * (time.perf_counter() - began))
    torch_ms, *others = (round(statistics.median(times), 2) for times in taken)
    trials = {}
    for name, ms, mine in zip(networks, others, apart, strict=True):
        texts, scores = np.array(mine).T
        trials[name] = Trial(ms, round(float(texts.mean()), 5), round(float(scores.max()), 5))
    doubt = round(float(np.mean(doubts)), 5)
    return Verdict(torch_ms, trials["onnx"], trials.get("openvino"), bounds is not None, thinned, doubt)


def _say(
    network: Network,
    samples: Floats,
    bounds: tuple[Sequence[int], int] | None,
    hears: bool,
    tokens: Sequence[int] = (),
) -> _Said:
    """A pass and its text; of a decoder the given tokens, or the likeliest to the end, TOKENS at most."""
    encoded = network.encode([samples], network.context(len(samples)), hears, judged=False)
    scores = np.empty(0, np.float32)
    if encoded.layers is not None:
        scores = network.tags([encoded.layers[0][:, : len(samples) // TOKEN]])
    if bounds is None:
        said = np.exp(network.ctc(encoded.window(0)))[: network.frames(len(samples))]
        return _Said(said, scores, [])
    writer, given, end = network.writer, list(bounds[0]), bounds[1]
    assert writer is not None
    cache = writer.listen(encoded.window(0))
    rows: list[Floats] = []
    written: list[int] = []
    for i in range(len(tokens) or TOKENS):
        logits, _ = writer.step(np.array([given]), cache)
        likely = np.exp(logits[0, -1] - logits[0, -1].max())
        rows.append(likely / likely.sum())
        given = [tokens[i] if tokens else int(rows[-1].argmax())]
        written += given
        if given == [end] and not tokens:
            break
    return _Said(np.stack(rows), scores, written)
