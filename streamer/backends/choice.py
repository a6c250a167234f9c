"""Which backend computes: what the settings say, or what was quicker here with this model.

A verdict is kept in the user's cache, under a key of all that it depends on: the model's files, the versions
of what computes, the processor, the number of threads.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from streamer.backends.base import Floats, Network
from streamer.backends.graphs import HEADS, VERSION
from streamer.backends.stored import StoredModel, read_stored
from streamer.config import ModelConfig
from streamer.errors import CheckpointError, ModelError
from streamer.nn.definition import FILE, WEIGHTS
from streamer.resources import find_model, find_sample, user_cache_dir
from streamer.timebase import SAMPLE_RATE

if TYPE_CHECKING:
    from streamer.backends.onnx import OnnxNetwork

log = logging.getLogger(__name__)

Backend = Literal["auto", "torch", "onnx"]
VERDICTS = "backends.json"
PACKAGES = ("onnxruntime", "torch", "numpy")

SECONDS = 5.0
"""Of audio in a pass that is measured."""
WINDOWS = 9
"""So many passes over the sample recording are compared, words and sounds."""
ROUNDS = 7
TOLERANCE = 1.1
"""ONNX may take so many times torch's time: it starts sooner and needs less memory."""
FURTHEST = 0.02
"""Sum of the differences of a frame's probabilities, on average, beyond which results count as others."""
FURTHEST_SCORE = 0.1
"""Difference of any sound's score beyond which they do."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a measurement came to: milliseconds of a pass, and how far probabilities and scores were apart."""

    torch_ms: float
    onnx_ms: float
    apart: float
    scores_apart: float

    @property
    def onnx(self) -> bool:
        """Whether ONNX Runtime is to be taken."""
        return self.onnx_ms <= TOLERANCE * self.torch_ms and self.same

    @property
    def same(self) -> bool:
        """Whether both say the same."""
        return self.apart <= FURTHEST and self.scores_apart <= FURTHEST_SCORE


def choose(config: ModelConfig, backend: Backend, threads: int) -> tuple[StoredModel, OnnxNetwork] | None:
    """A model and what computes it in ONNX Runtime; None where torch is to do it.

    Raises CheckpointError for a model whose definition is broken.
    """
    if backend == "torch":
        return None
    from streamer.backends.onnx import OnnxNetwork

    found = fit(config)
    if isinstance(found, str):
        log.log(logging.WARNING if backend == "onnx" else logging.INFO, "torch computes: %s", found)
        return None
    try:
        if backend == "auto":
            verdict = _verdict(config, found, threads)
            log.info(
                "%s computes: %g s take torch %.1f ms and ONNX Runtime %.1f%s",
                "ONNX Runtime" if verdict.onnx else "torch",
                SECONDS,
                verdict.torch_ms,
                verdict.onnx_ms,
                "" if verdict.same else ", whose results are not torch's",
            )
            if not verdict.onnx:
                return None
        return found, OnnxNetwork(found, threads)
    except ModelError as error:
        log.warning("torch computes: %s", error)
        return None


def fit(config: ModelConfig) -> StoredModel | str:
    """What ONNX Runtime can compute, or why it cannot. Raises CheckpointError for a model that is broken."""
    try:
        directory = find_model(config.name)
    except ModelError:
        return f"{config.name} is no model of ours"  # torch's loader says what it is, or that there is none
    if not (directory / FILE).is_file():
        return f"{config.name} is no model of ours, a folder with {FILE}"
    if config.tags:
        return f"a tag head of its own is set ({config.tags})"
    if config.emotion:
        return f"an emotion head is set ({config.emotion})"
    if config.precision != "auto":
        return f"model.precision is {config.precision!r}, and ONNX Runtime is given integers"
    model = read_stored(directory)
    decoder = model.info.text.decoder if config.decoder == "auto" else config.decoder
    if decoder == "attention" or model.ctc is None:
        return f"the decoder of {model.name} writes, which is torch's"
    if model.tags is not None and model.tags.head not in HEADS:
        return f"its tag head is of the kind {model.tags.head}"
    return model


def _verdict(config: ModelConfig, model: StoredModel, threads: int) -> Verdict:
    """The one that is kept, else a new one, which is kept."""
    file, key = user_cache_dir() / VERDICTS, _key(model, threads)
    kept = _read(file)
    try:
        return Verdict(**kept[key])
    except (KeyError, TypeError):
        log.info("Measuring torch and ONNX Runtime with %s, once: a few seconds …", config.name)
    verdict = _measure(config, model, threads)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.{os.getpid()}")
        part.write_text(json.dumps({**kept, key: asdict(verdict)}, indent=1), encoding="utf-8")
        part.replace(file)
    except OSError as error:
        log.warning("The next start has to measure again: cannot write %s: %s", file, error)
    return verdict


def _read(file: Path) -> dict[str, dict[str, float]]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _key(model: StoredModel, threads: int) -> str:
    digest = hashlib.sha256()
    for name in (FILE, WEIGHTS):
        try:
            digest.update((model.directory / name).read_bytes())
        except OSError as error:
            raise CheckpointError(f"cannot read the model {model.name}: {error}") from error
    versions = [f"{package} {_version(package)}" for package in PACKAGES]
    about = [f"graphs {VERSION}", *versions, _processor(), f"{threads} threads"]
    digest.update("\n".join(about).encode())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            said = [line for line in info if line.startswith(("model name", "flags"))]
        return "".join(sorted(set(said)))
    except OSError:
        return platform.processor()


def _measure(config: ModelConfig, model: StoredModel, threads: int) -> Verdict:
    """Both in turn, on the same recording."""
    import torch

    from streamer.audio.decode import decode_file
    from streamer.backends.onnx import OnnxNetwork
    from streamer.backends.torch import choose_precision, network_of
    from streamer.nn.checkpoint import load

    torch.set_num_threads(threads)
    both: tuple[Network, Network] = (
        network_of(load(config.name), choose_precision(config)),
        OnnxNetwork(model, threads),
    )
    size = round(SECONDS * SAMPLE_RATE)
    heard = decode_file(find_sample())[: WINDOWS * size].reshape(-1, size)
    apart = np.array([_apart(*both, view, model.tags is not None) for view in heard])
    taken: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for network, times in zip(both, taken, strict=True):
            began = time.perf_counter()
            _pass(network, heard[0], model.tags is not None)
            times.append(1000 * (time.perf_counter() - began))
    reference, onnx = (round(statistics.median(times), 2) for times in taken)
    return Verdict(reference, onnx, round(float(apart[:, 0].mean()), 5), round(float(apart[:, 1].max()), 5))


def _apart(one: Network, other: Network, samples: Floats, pooled: bool) -> tuple[float, float]:
    """How far they are apart: in a frame's probabilities on average, in the scores of sounds at most."""
    (words, sounds), (others, other_sounds) = (_pass(network, samples, pooled) for network in (one, other))
    return float(np.abs(words - others).sum(-1).mean()), float(np.abs(sounds - other_sounds).max(initial=0))


def _pass(network: Network, samples: Floats, pooled: bool) -> tuple[Floats, Floats]:
    """Probabilities of each frame's pieces, and scores of sounds over all of it, if there are any."""
    encoded = network.encode([samples], network.context(len(samples)), pooled, judged=False)
    scores = network.tags([encoded.layers[0]]) if encoded.layers is not None else np.empty(0, np.float32)
    return np.exp(network.ctc(encoded.states)), scores
