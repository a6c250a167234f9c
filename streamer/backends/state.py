"""What a verdict on a model and its kept graphs depend on, as keys: files, versions, processor, settings."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

from streamer.backends import processor
from streamer.backends.graphs import VERSION
from streamer.backends.kept import Place
from streamer.backends.onnx import Runtime
from streamer.config import ModelConfig
from streamer.errors import ModelError
from streamer.nn.official import find_official, whisper_cache
from streamer.resources import find_head, find_model

PACKAGES = ("onnxruntime", "openvino", "torch", "numpy")
"""What computes."""
TABLES = "openai-whisper"
"""The package that knows which heads of an official model follow the audio."""
WRITERS = ("decoder_graphs", "graphs", "loaded", "onnx", "onnx_file", "plain", "stored")
"""Modules beside this one whose code a graph depends on."""

RELEASED_HEADS = ("_ori.pth", "_low.pth")
"""Ends of the names of heads that come along with the checkpoint that they lie beside."""


def verdict_key(config: ModelConfig, threads: int) -> str:
    """Of a verdict."""
    versions = [f"{package} {_version(package)}" for package in PACKAGES]
    about = [
        f"graphs {VERSION}",
        *versions,
        _processor(),
        f"{threads} threads",
        config.decoder,
        config.silence,
    ]
    return hashlib.sha256("\n".join([*about, *_state(config)]).encode()).hexdigest()


def place(config: ModelConfig, runtime: Runtime) -> Place:
    """Where a model's graphs are kept; runtime: what computes its encoder."""
    code = hashlib.sha256()
    for module in WRITERS:
        code.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    about = [code.hexdigest(), f"signed {processor.multiplies_signed()}", f"{TABLES} {_version(TABLES)}"]
    whose = [config.name, config.tags, config.decoder, runtime, config.silence]
    return Place("\n".join(whose), "\n".join([*about, *_state(config)]))


def size(config: ModelConfig) -> int:
    """Bytes of a model on this machine; 0 where it is not here."""
    return sum(file.stat().st_size for file in model_files(config.name))


def could_be_here(name: str) -> bool:
    """Whether a model is on this machine, or Hugging Face's package may fetch it."""
    return bool(model_files(name)) or name.count("/") == 1


def _state(config: ModelConfig) -> list[str]:
    """What changes with a model's files, and those of the head that is set."""
    files = [*model_files(config.name), *(_head_files(config.tags) if config.tags else ())]
    stats = [(file, file.stat()) for file in files]
    return [
        config.name,
        config.tags,
        *(f"{file} {about.st_size} {about.st_mtime_ns}" for file, about in stats),
    ]


def model_files(name: str) -> list[Path]:
    """A model's files, as far as they are on this machine."""
    try:
        return _all(find_model(name))
    except ModelError:
        official = find_official(name)
        if official is not None:
            return _all(whisper_cache() / official.file)
        return _all(_hub_copy(name)) if name.count("/") == 1 else []


def _head_files(name: str) -> list[Path]:
    try:
        return _all(find_head(name))
    except ModelError:
        return []


def _all(path: Path) -> list[Path]:
    """A folder's files, or a file and the heads that come along with it."""
    path = path.absolute()
    found = (
        path.iterdir()
        if path.is_dir()
        else [path, *(path.with_name(path.stem + end) for end in RELEASED_HEADS)]
    )
    return sorted(file for file in found if file.is_file())


def _hub_copy(name: str) -> Path:
    """Where Hugging Face keeps its copy of a model; its package would take a while to import."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    folder = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    copies = folder / f"models--{name.replace('/', '--')}"
    try:
        return copies / "snapshots" / (copies / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return copies


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
