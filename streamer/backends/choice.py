"""Which backend computes: what the settings say, or what was quicker here with this model.

What needs torch for a moment, measuring and reading other people's checkpoints, is done once, by a second
Python. Its verdict is kept in the user's cache, and so are the model's graphs (`backends.kept`): later starts
need neither torch nor the checkpoint.
"""

from __future__ import annotations

import gc
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from streamer.backends import state
from streamer.backends.child import in_child
from streamer.backends.graphs import HEADS
from streamer.backends.kept import Kept, find, keep
from streamer.backends.stored import StoredModel, Weights, read_stored
from streamer.backends.verdict import Verdict, measure
from streamer.config import ModelConfig
from streamer.errors import ModelError
from streamer.nn.definition import FILE, Vocabulary
from streamer.resources import find_head, find_model, user_cache_dir

if TYPE_CHECKING:
    from streamer.backends.onnx import OnnxNetwork

log = logging.getLogger(__name__)

Backend = Literal["auto", "torch", "onnx"]
VERDICTS = "backends.json"

LARGEST = 1 << 30
"""Bytes of a checkpoint beyond which nothing is measured: to try both takes several times the memory."""

Prompt = Callable[[Vocabulary], Sequence[int]]
"""The tokens that a decoder begins a text with. A module's function: another Python calls it."""


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

    def keep(self, config: ModelConfig) -> bool:
        """Write its graphs into the cache; whether that could be done. Raises CheckpointError."""
        from streamer.backends.onnx import written

        return keep(state.place(config), self.model, written(self.model, self.weights, self.writes))


def choose(
    config: ModelConfig, backend: Backend, threads: int, prompt: Prompt
) -> tuple[StoredModel, OnnxNetwork] | None:
    """A model and what computes it in ONNX Runtime; None where torch is to do it.

    Raises CheckpointError for a model whose definition is broken.
    """
    ready = prepare(config, backend, threads, prompt)
    if ready is None:
        return None
    from streamer.backends.onnx import OnnxNetwork

    try:
        if isinstance(ready, Kept):
            return ready.model, OnnxNetwork(ready.model, threads, kept=ready.graphs)
        network = ready.network(threads)
    except ModelError as error:
        log.warning("torch computes: %s", error)
        return None
    model, loaded = ready.model, ready.weights is not None
    del ready
    if loaded:
        gc.collect()  # torch's modules, of which nothing is needed any more
    return model, network


def prepare(config: ModelConfig, backend: Backend, threads: int, prompt: Prompt) -> Kept | Fitting | None:
    """All that takes long at the first start with a model, and says so; None where torch is to compute.

    Raises CheckpointError for a model whose definition is broken.
    """
    if backend == "torch":
        return None
    found = _refusal(config) or _prepare(config, backend, threads, prompt)
    if isinstance(found, str):
        log.log(logging.WARNING if backend == "onnx" else logging.INFO, "torch computes: %s", found)
    return None if isinstance(found, str | Verdict) else found


def _prepare(
    config: ModelConfig, backend: Backend, threads: int, prompt: Prompt
) -> Kept | Fitting | Verdict | str:
    """What is ready to compute, or why it shall not."""
    if backend == "auto" and state.size(config) > LARGEST:
        return f"{config.name} is too large to be tried; engine.backend may say onnx"
    own, verdict = _stored(config), None
    if backend == "auto" and (verdict := _recall(state.verdict_key(config, threads))) is not None:
        if isinstance(verdict, str):
            return verdict
        _tell(verdict)
        if not verdict.onnx:
            return verdict
    kept, measuring = find(state.place(config)), backend == "auto" and verdict is None
    if measuring or (kept is None and own is None):
        if own is None and not state.could_be_here(config.name):
            return f"{config.name} is not on this machine"  # whoever loads it says what there is
        what = "Measuring torch and ONNX Runtime with" if measuring else "Preparing ONNX Runtime for"
        log.info("%s %s, once: a few seconds …", what, config.name)
        try:
            said = in_child(first, config, threads, prompt, measuring)
        except ModelError as error:
            log.warning("%s", error)
            return str(error)
        if said is not None and state.size(config):
            _remember(state.verdict_key(config, threads), said)
        if isinstance(said, Verdict):
            _tell(said)
        if isinstance(said, str) or (said is not None and not said.onnx):
            return said
        kept = find(state.place(config))
    if kept is None and own is not None and own.keep(config):
        kept = find(state.place(config))
    return kept or own or fit(config)


def first(config: ModelConfig, threads: int, prompt: Prompt, measuring: bool) -> Verdict | str | None:
    """What a second Python does: a verdict if wanted, and the graphs into the cache; or why it cannot be."""
    found = fit(config)
    if isinstance(found, str):
        return found
    verdict = None
    if measuring:
        given = prompt(found.model.vocabulary) if found.writes else None
        verdict = measure(config, found.network(threads), threads, given, found.model.tags is not None)
    if verdict is None or verdict.onnx:
        found.keep(config)
    return verdict


def fit(config: ModelConfig) -> Fitting | str:
    """What ONNX Runtime can compute, or why it cannot. Raises CheckpointError for a model that is broken."""
    found = _refusal(config) or _stored(config) or _loaded(config)
    if isinstance(found, Fitting) and (tags := found.model.tags) is not None and tags.head not in HEADS:
        return f"its tag head is of the kind {tags.head}"
    return found


def _refusal(config: ModelConfig) -> str:
    """Why ONNX Runtime cannot do what the settings ask for, whatever the model; empty where it may."""
    if config.emotion:
        return f"an emotion head is set ({config.emotion})"
    if config.precision != "auto":
        return f"model.precision is {config.precision!r}, and ONNX Runtime is given integers"
    try:
        if config.tags:
            find_head(config.tags)
    except ModelError as error:
        return str(error)
    return ""


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


def _recall(key: str) -> Verdict | str | None:
    """A verdict, or why there can be none; None where nothing is known yet."""
    try:
        kept = _read(_file())[key]
        return str(kept["reason"]) if "reason" in kept else Verdict(**kept)
    except (KeyError, TypeError):
        return None


def _remember(key: str, verdict: Verdict | str) -> None:
    file = _file()
    one = {"reason": verdict} if isinstance(verdict, str) else asdict(verdict)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.{os.getpid()}")
        part.write_text(json.dumps({**_read(file), key: one}, indent=1), encoding="utf-8")
        part.replace(file)
    except OSError as error:
        log.warning("The next start has to measure again: cannot write %s: %s", file, error)


def _file() -> Path:
    return user_cache_dir() / VERDICTS


def _read(file: Path) -> dict[str, Any]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
