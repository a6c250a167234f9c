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
from collections.abc import Callable
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
from streamer.resources import find_model, user_cache_dir
from streamer.timebase import SAMPLE_RATE

if TYPE_CHECKING:
    from streamer.backends.onnx import OnnxNetwork

log = logging.getLogger(__name__)

Backend = Literal["auto", "torch", "onnx"]
VERDICTS = "backends.json"
PACKAGES = ("onnxruntime", "torch", "numpy")

SECONDS = 5.0
"""Of audio that is measured with."""
ROUNDS = 7
TOLERANCE = 1.1
"""ONNX may take so many times torch's time: it starts sooner and needs less memory."""
FURTHEST = 0.05
"""Sum of the differences of a frame's probabilities, on average, beyond which results count as others."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a measurement came to: milliseconds of a pass, and how far the probabilities were apart."""

    torch_ms: float
    onnx_ms: float
    apart: float

    @property
    def onnx(self) -> bool:
        """Whether ONNX Runtime is to be taken."""
        return self.onnx_ms <= TOLERANCE * self.torch_ms and self.apart <= FURTHEST


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
                "%s computes: %g s take torch %.1f ms and ONNX Runtime %.1f",
                "ONNX Runtime" if verdict.onnx else "torch",
                SECONDS,
                verdict.torch_ms,
                verdict.onnx_ms,
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
    """Both in turn, on the same noise."""
    import torch

    from streamer.backends.onnx import OnnxNetwork
    from streamer.backends.torch import choose_precision, network_of
    from streamer.nn.checkpoint import load

    torch.set_num_threads(threads)
    both: list[Network] = [
        network_of(load(config.name), choose_precision(config)),
        OnnxNetwork(model, threads),
    ]
    rng = np.random.default_rng(0)
    syllables = np.sin(np.linspace(0, 4 * np.pi * SECONDS, round(SECONDS * SAMPLE_RATE))) ** 2
    samples = (0.1 * syllables * rng.standard_normal(len(syllables))).astype(np.float32)
    passes = [_pass(network, samples, model.tags is not None) for network in both]
    heard = [np.exp(one()) for one in passes]
    apart = float(np.abs(heard[0] - heard[1]).sum(-1).mean())
    taken: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for one, times in zip(passes, taken, strict=True):
            began = time.perf_counter()
            one()
            times.append(1000 * (time.perf_counter() - began))
    reference, onnx = (round(statistics.median(times), 2) for times in taken)
    return Verdict(reference, onnx, round(apart, 5))


def _pass(network: Network, samples: Floats, pooled: bool) -> Callable[[], Floats]:
    length = network.context(len(samples))
    return lambda: network.ctc(network.encode([samples], length, pooled, judged=False).states)
