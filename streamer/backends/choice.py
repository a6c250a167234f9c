"""Which backend computes: what the settings say, or what was quicker here with this model.

A verdict is kept in the user's cache, under a key of all that it depends on: the model's files, the versions
of what computes, the processor, the number of threads.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from streamer.backends.graphs import HEADS, VERSION
from streamer.backends.stored import StoredModel, Weights, read_stored
from streamer.backends.verdict import Verdict, measure
from streamer.config import ModelConfig
from streamer.errors import ModelError
from streamer.nn.definition import FILE, Vocabulary
from streamer.resources import find_model, user_cache_dir

if TYPE_CHECKING:
    from streamer.backends.onnx import OnnxNetwork

log = logging.getLogger(__name__)

Backend = Literal["auto", "torch", "onnx"]
VERDICTS = "backends.json"
PACKAGES = ("onnxruntime", "torch", "numpy")

LARGEST = 1 << 30
"""Bytes of a checkpoint beyond which nothing is measured: to try both takes several times the memory."""

Prompt = Callable[[Vocabulary], Sequence[int]]
"""The tokens that a decoder begins a text with."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """A model for ONNX Runtime. weights: None where they are in a folder of ours, and no torch is needed.

    writes: its decoder is what writes.
    """

    model: StoredModel
    weights: Weights | None
    writes: bool

    def network(self, threads: int) -> OnnxNetwork:
        """What computes it. Raises CheckpointError and ModelError."""
        from streamer.backends.onnx import OnnxNetwork

        return OnnxNetwork(self.model, threads, self.weights, self.writes)


def choose(
    config: ModelConfig, backend: Backend, threads: int, prompt: Prompt
) -> tuple[StoredModel, OnnxNetwork] | None:
    """A model and what computes it in ONNX Runtime; None where torch is to do it.

    Raises CheckpointError for a model whose definition is broken.
    """
    if backend == "torch":
        return None
    key, kept = "", None
    if backend == "auto":
        if sum(file.stat().st_size for file in _files(config.name)) > LARGEST:
            log.info("torch computes: %s is too large to be tried; engine.backend may say onnx", config.name)
            return None
        key = _key(config, threads)
        kept = _kept(key)
    if kept is not None and not kept.onnx:
        _tell(kept)
        return None
    found = fit(config)
    if isinstance(found, str):
        log.log(logging.WARNING if backend == "onnx" else logging.INFO, "torch computes: %s", found)
        return None
    try:
        if backend == "auto":
            verdict = kept or _new(config, found, threads, prompt, key)
            _tell(verdict)
            if not verdict.onnx:
                return None
        network = found.network(threads)
    except ModelError as error:
        log.warning("torch computes: %s", error)
        return None
    model, loaded = found.model, found.weights is not None
    del found
    if loaded:
        gc.collect()  # torch's modules, of which nothing is needed any more
    return model, network


def fit(config: ModelConfig) -> Fitting | str:
    """What ONNX Runtime can compute, or why it cannot. Raises CheckpointError for a model that is broken."""
    if config.emotion:
        return f"an emotion head is set ({config.emotion})"
    if config.precision != "auto":
        return f"model.precision is {config.precision!r}, and ONNX Runtime is given integers"
    found = _stored(config) or _loaded(config)
    if isinstance(found, Fitting) and (tags := found.model.tags) is not None and tags.head not in HEADS:
        return f"its tag head is of the kind {tags.head}"
    return found


def _stored(config: ModelConfig) -> Fitting | None:
    """A model of ours as it lies there, if its CTC branch writes."""
    try:
        directory = find_model(config.name)
    except ModelError:
        return None
    if config.tags or not (directory / FILE).is_file():
        return None
    model = read_stored(directory)
    return None if _writes(config, model) else Fitting(model, None, writes=False)


def _loaded(config: ModelConfig) -> Fitting | str:
    """Any Whisper, by way of torch."""
    from streamer.backends.loaded import as_stored
    from streamer.nn.checkpoint import load, locate

    try:
        model, weights = as_stored(load(config.name, config.tags or None), locate(config.name))
    except ModelError as error:  # torch's loader says what it is, or that there is none
        return f"{config.name} is no Whisper: {error}"
    return Fitting(model, weights, _writes(config, model))


def _writes(config: ModelConfig, model: StoredModel) -> bool:
    """Whether the decoder writes, as `asr.transcriber` has it."""
    decoder = model.info.text.decoder if config.decoder == "auto" else config.decoder
    return decoder == "attention" or model.ctc is None


def _tell(verdict: Verdict) -> None:
    log.info(
        "%s computes: a pass takes torch %.1f ms and ONNX Runtime %.1f%s",
        "ONNX Runtime" if verdict.onnx else "torch",
        verdict.torch_ms,
        verdict.onnx_ms,
        "" if verdict.same else ", whose results are not torch's",
    )


def _kept(key: str) -> Verdict | None:
    try:
        return Verdict(**_read(_file())[key])
    except (KeyError, TypeError):
        return None


def _new(config: ModelConfig, found: Fitting, threads: int, prompt: Prompt, key: str) -> Verdict:
    """A verdict, which is kept."""
    log.info("Measuring torch and ONNX Runtime with %s, once: a few seconds …", config.name)
    given = prompt(found.model.vocabulary) if found.writes else None
    verdict = measure(config, found.network(threads), threads, given, found.model.tags is not None)
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.{os.getpid()}")
        part.write_text(json.dumps({**_read(file), key: asdict(verdict)}, indent=1), encoding="utf-8")
        part.replace(file)
    except OSError as error:
        log.warning("The next start has to measure again: cannot write %s: %s", file, error)
    return verdict


def _file() -> Path:
    return user_cache_dir() / VERDICTS


def _read(file: Path) -> dict[str, dict[str, Any]]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _key(config: ModelConfig, threads: int) -> str:
    versions = [f"{package} {_version(package)}" for package in PACKAGES]
    about = [f"graphs {VERSION}", *versions, _processor(), f"{threads} threads"]
    about += [config.decoder, *_state(config.name), *(_state(config.tags) if config.tags else ())]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()


def _state(name: str) -> list[str]:
    """What changes with a model's files."""
    stats = [(file, file.stat()) for file in _files(name)]
    return [name, *(f"{file} {about.st_size} {about.st_mtime_ns}" for file, about in stats)]


def _files(name: str) -> list[Path]:
    """A model's, or a head's, as far as they are on this machine."""
    try:
        path = find_model(name)
    except ModelError:
        from streamer.nn.official import find_official, whisper_cache

        official = find_official(name)
        path = whisper_cache() / official.file if official is not None else Path(name)
    found = path.iterdir() if path.is_dir() else [path]
    return sorted(file for file in found if file.is_file())


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
