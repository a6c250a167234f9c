"""ONNX Runtime's sessions, as everything here runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamer.errors import ModelError


def session(model: bytes | Path, threads: int) -> Any:
    """A graph, or the file that it is in, ready to run. Raises ModelError."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise ModelError(f"expected ONNX Runtime to be installed, found none that works: {error}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads sleep between passes, and nothing is kept of what the longest pass that there was has needed.
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    given = str(model) if isinstance(model, Path) else model
    failures = state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile
    try:
        found = onnxruntime.InferenceSession(given, sess_options=options, providers=["CPUExecutionProvider"])
    except (*failures, state.NotImplemented, state.RuntimeException) as error:
        raise ModelError(f"ONNX Runtime {onnxruntime.__version__} cannot run the model: {error}") from error
    vars(found).pop("_model_bytes", None)  # kept only to begin again on other hardware
    return found
