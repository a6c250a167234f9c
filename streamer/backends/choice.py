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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from streamer.backends import openvino, processor, state
from streamer.backends.child import in_child
from streamer.backends.graphs import HEADS
from streamer.backends.kept import Kept, find, keep
from streamer.backends.stored import StoredModel, Weights, read_stored
from streamer.backends.verdict import Verdict, measure
from streamer.config import ModelConfig
from streamer.errors import MissingExtraError, ModelError
from streamer.nn.definition import FILE, Vocabulary
from streamer.resources import find_head, find_model, user_cache_dir

if TYPE_CHECKING:
    from streamer.backends.onnx import OnnxNetwork, Runtime

log = logging.getLogger(__name__)

Backend = Literal["auto", "torch", "onnx", "openvino"]
VERDICTS = "backends.json"

NAMES = {"torch": "torch", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}
"""What people call them."""

LARGEST = 1 << 30
"""Bytes of a checkpoint beyond which nothing is measured: to try all takes several times the memory."""

Bounds = Callable[[Vocabulary], tuple[Sequence[int], int]]
"""The tokens that a decoder begins a text with, and the one that ends it. A module's function: another Python
calls it."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """A model for ONNX Runtime. weights: None where they are in a folder of ours, and no torch is needed.

    writes: its decoder is what writes. runtime: what computes its encoder.
    """

    model: StoredModel
    weights: Weights | None
    writes: bool
    runtime: Runtime = "onnx"

    def network(self, threads: int, workers: int = 1) -> OnnxNetwork:
        """What computes it. Raises CheckpointError, MissingExtraError and ModelError."""
        from streamer.backends.onnx import OnnxNetwork

        return OnnxNetwork(self.model, threads, self.weights, self.writes, None, self.runtime, workers)

    def filled(self, silence: str) -> Fitting:
        """With so much silence; see `ModelInfo.filled`."""
        return replace(self, model=replace(self.model, info=self.model.info.filled(silence)))

    def undecided(self, config: ModelConfig) -> bool:
        """Whether it has to be measured how much silence it needs."""
        return config.silence == "auto" and not self.model.info.context.cut and state.size(config) <= LARGEST

    def keep(self, config: ModelConfig) -> bool:
        """Write its graphs into the cache; whether that could be done. Raises CheckpointError."""
        from streamer.backends.onnx import written

        graphs = written(self.model, self.weights, self.writes, self.runtime)
        return keep(state.place(config, self.runtime), self.model, graphs)


def choose(
    config: ModelConfig, backend: Backend, threads: int, bounds: Bounds
) -> tuple[StoredModel, OnnxNetwork] | None:
    """A model and what computes it in ONNX Runtime, or OpenVINO; None where torch is to do it.

    Raises CheckpointError for a model whose definition is broken, MissingExtraError where OpenVINO is asked
    for and is not there.
    """
    ready = prepare(config, backend, threads, bounds)
    if ready is None:
        return None
    from streamer.backends.onnx import OnnxNetwork

    workers = processor.workers(config.workers)
    try:
        if isinstance(ready, Kept):
            return ready.model, OnnxNetwork(ready.model, threads, kept=ready.graphs, workers=workers)
        network = ready.network(threads, workers)
    except ModelError as error:
        log.warning("torch computes: %s", error)
        return None
    model, loaded = ready.model, ready.weights is not None
    del ready
    if loaded:
        gc.collect()  # torch's modules, of which nothing is needed any more
    return model, network


def prepare(config: ModelConfig, backend: Backend, threads: int, bounds: Bounds) -> Kept | Fitting | None:
    """All that takes long at the first start with a model, and says so; None where torch is to compute.

    Raises CheckpointError and MissingExtraError as `choose` does.
    """
    if backend == "torch":
        return None
    if backend == "openvino" and not openvino.installed():
        raise MissingExtraError("engine.backend = 'openvino'", "openvino")
    found = _refusal(config) or _prepare(config, backend, threads, bounds)
    if isinstance(found, str):
        log.log(logging.INFO if backend == "auto" else logging.WARNING, "torch computes: %s", found)
    return None if isinstance(found, str | Verdict) else found


def _prepare(
    config: ModelConfig, backend: Backend, threads: int, bounds: Bounds
) -> Kept | Fitting | Verdict | str:
    """What is ready to compute, or why it shall not."""
    if backend == "auto" and state.size(config) > LARGEST:
        return f"{config.name} is too large to be tried; engine.backend may say onnx"
    own = _stored(config)
    if own is not None and own.undecided(config):
        own = None  # whoever measures writes its graphs
    verdict = _recall(state.verdict_key(config, threads)) if backend == "auto" else None
    if isinstance(verdict, Verdict):
        _tell(verdict)
    if isinstance(verdict, str) or (verdict is not None and verdict.backend == "torch"):
        return verdict
    runtime = _runtime(verdict.backend if verdict is not None else backend)
    kept = find(state.place(config, runtime)) if runtime is not None else None
    if runtime is None or (kept is None and own is None):
        if own is None and not state.could_be_here(config.name):
            return f"{config.name} is not on this machine"  # whoever loads it says what there is
        said = _ask(config, threads, bounds, runtime)
        if isinstance(said, Verdict):
            _tell(said)
            verdict, runtime = said, _runtime(said.backend)
        if said is not None and (isinstance(said, str) or runtime is None):
            return said
        assert runtime is not None, "whoever measures comes to a verdict"
        kept = find(state.place(config, runtime))
    if kept is None and own is not None:
        own = replace(own, runtime=runtime)
        kept = find(state.place(config, runtime)) if own.keep(config) else None
    if (ready := kept or own) is not None:
        return ready
    found = fit(config, runtime)  # nothing can be kept here
    thinned = verdict is not None and verdict.thinned
    return found.filled("thinned") if thinned and isinstance(found, Fitting) else found


def _runtime(backend: Backend) -> Runtime | None:
    """What computes the encoder; None where torch does, or that has to be measured."""
    return backend if backend == "onnx" or backend == "openvino" else None


def _ask(config: ModelConfig, threads: int, bounds: Bounds, runtime: Runtime | None) -> Verdict | str | None:
    """`first`, in a second Python. What it says is kept."""
    everything = "torch, ONNX Runtime and OpenVINO" if openvino.installed() else "torch and ONNX Runtime"
    what = f"Measuring {everything} with" if runtime is None else f"Preparing {NAMES[runtime]} for"
    log.info("%s %s, once: a few seconds, more for a large model …", what, config.name)
    try:
        said = in_child(first, config, threads, bounds, runtime)
    except ModelError as error:
        log.warning("%s", error)
        return str(error)
    if said is not None and state.size(config):
        _remember(state.verdict_key(config, threads), said)
    return said


def first(config: ModelConfig, threads: int, bounds: Bounds, runtime: Runtime | None) -> Verdict | str | None:
    """What a second Python does: the graphs into the cache, or why it cannot be.

    runtime: what they are for; None to measure that, which a verdict is given for. What the model hears of
    silence is measured either way, where the settings leave it open.
    """
    found = fit(config, runtime or "onnx")
    if isinstance(found, str):
        return found
    verdict = None
    if found.undecided(config):
        thinned = found.filled("thinned")
        verdict = _measured(config, thinned, threads, bounds)
        if verdict.same(verdict.onnx):
            found = thinned
        else:
            log.info("%s hears all silence: thinned, it would say something else", config.name)
            verdict = None
    if runtime is not None:
        replace(found, runtime=runtime).keep(config)
        return None
    verdict = verdict or _measured(config, found, threads, bounds)
    if (chosen := _runtime(verdict.backend)) is not None:
        replace(found, runtime=chosen).keep(config)
    return verdict


def _measured(config: ModelConfig, found: Fitting, threads: int, bounds: Bounds) -> Verdict:
    """All that may compute it here, against torch."""
    given = bounds(found.model.vocabulary) if found.writes else None
    about = found.model
    thinned = about.info.context.thinned and config.silence == "auto"
    return measure(config, _networks(found, threads), threads, given, about.tags is not None, thinned)


def _networks(found: Fitting, threads: int) -> dict[Runtime, OnnxNetwork]:
    """All that may compute a model here beside torch."""
    networks: dict[Runtime, OnnxNetwork] = {"onnx": found.network(threads)}
    if openvino.installed():
        try:
            networks["openvino"] = replace(found, runtime="openvino").network(threads)
        except ModelError as error:
            log.warning("OpenVINO is left out: %s", error)
    return networks


def fit(config: ModelConfig, runtime: Runtime = "onnx") -> Fitting | str:
    """What ONNX Runtime can compute, or why it cannot. Raises CheckpointError for a model that is broken.

    runtime: what is to compute the encoder.
    """
    found = _refusal(config) or _stored(config) or _loaded(config)
    if isinstance(found, str):
        return found
    found = found.filled(config.silence)
    if (tags := found.model.tags) is not None and tags.head not in HEADS:
        return f"its tag head is of the kind {tags.head}"
    return replace(found, runtime=runtime)


def _refusal(config: ModelConfig) -> str:
    """Why ONNX Runtime cannot do what the settings ask for, whatever the model; empty where it may."""
    if config.emotion:
        return f"an emotion head is set ({config.emotion})"
    if config.device != "cpu":
        return f"model.device is {config.device!r}"
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
    return None if _writes(config, model) else Fitting(model, None, writes=False).filled(config.silence)


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
    said = [f"a pass takes torch {verdict.torch_ms:.1f} ms"]
    for name, trial in (("onnx", verdict.onnx), ("openvino", verdict.openvino)):
        if trial is not None:
            other = "" if verdict.same(trial) else ", whose results are not torch's"
            said.append(f"{NAMES[name]} {trial.ms:.1f}{other}")
    how = " over thinned silence" if verdict.thinned and verdict.backend != "torch" else ""
    log.info("%s computes%s: %s", NAMES[verdict.backend], how, "; ".join(said))


def _recall(key: str) -> Verdict | str | None:
    """A verdict, or why there can be none; None where nothing is known yet."""
    try:
        kept = _read(_file())[key]
        return str(kept["reason"]) if "reason" in kept else Verdict.of(kept)
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
