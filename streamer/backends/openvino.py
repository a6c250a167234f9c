"""OpenVINO, which multiplies an encoder's attention in bfloat16 where the processor does.

Linear layers stay integers times integers: what a matrix is multiplied by is rounded to 8 bits on the way,
with a scale for each run of GROUP numbers of a frame.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.backends import processor
from streamer.backends.base import Floats
from streamer.errors import MissingExtraError, ModelError

GROUP = 64
"""Larger groups are quicker, by a tenth, and a decoder that is unsure writes other words because of them."""


def installed() -> bool:
    """Whether there is an OpenVINO here (extra `openvino`). It is not imported."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoSession:
    """A graph that is ready to run, and is asked as a session of ONNX Runtime is: by any thread."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._of_thread = threading.local()

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[Floats]:
        """Outputs by name, of inputs by name."""
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
        found = request.infer(dict(feeds), share_inputs=True)
        return [np.asarray(found[self._compiled.output(name)]) for name in names]


def session(model: bytes | Path, threads: int, workers: int = 1) -> OpenVinoSession:
    """A graph of standard operators, or the file that it is in, ready to run, on so many threads a worker.

    Raises MissingExtraError without OpenVINO, ModelError where it cannot run the graph.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("engine.backend = 'openvino'", "openvino") from error
    settings = {
        "INFERENCE_NUM_THREADS": threads * workers,
        "NUM_STREAMS": workers,
        "ENABLE_CPU_PINNING": False,  # its threads may not share a processor with the capture's
        "INFERENCE_PRECISION_HINT": "bf16" if processor.multiplies_bfloat16() else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP,
    }
    core = openvino.Core()
    try:
        return OpenVinoSession(core.compile_model(core.read_model(model), "CPU", settings))
    except RuntimeError as error:
        raise ModelError(f"OpenVINO {openvino.__version__} cannot run the model: {error}") from error
