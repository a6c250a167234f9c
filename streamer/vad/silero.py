"""Silero's detector: a small recurrent network, slower than WebRTC's.

Prefers ONNX Runtime on the model file inside the `silero_vad` package, which is then located but
not imported: the import pulls torch in and sets its thread count to 1 for the whole process. Without
ONNX Runtime the package's own torch model serves, with the thread count put back.

Reset policy. In streams without an end the network's state drifts until clear speech scores low
(silero-vad#725). The state is therefore forgotten after `RESET_AFTER` samples without speech, again
and again while there is none: in silence a reset costs nothing, and a state that has drifted into
deafness hears no speech, so it heals itself within that time.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.errors import MissingExtraError
from streamer.timebase import FRAME, SAMPLE_RATE
from streamer.vad.base import check_frame

BLOCK = 512
"""Samples that the network takes at a time (32 ms)."""

CONTEXT = 64
"""Samples of the previous block that the network sees before each block."""

RESET_AFTER = 5 * SAMPLE_RATE
"""Samples without speech after which the network's state is forgotten."""


class Network(Protocol):
    """The recurrent network, one block at a time."""

    def probability(self, block: NDArray[np.float32]) -> float:
        """Probability that the next block, float32 (512,), is speech."""

    def reset(self) -> None:
        """Forget the recurrent state and the context."""


class OnnxNetwork:
    """The network on ONNX Runtime, one thread."""

    def __init__(self, model: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = 1
        options.intra_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            str(model), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._rate = np.array(SAMPLE_RATE, np.int64)
        self._state: NDArray[np.float32]
        self._input: NDArray[np.float32]
        self.reset()

    def probability(self, block: NDArray[np.float32]) -> float:
        """See `Network`."""
        self._input[0, :CONTEXT] = self._input[0, -CONTEXT:]
        self._input[0, CONTEXT:] = block
        feeds = {"input": self._input, "state": self._state, "sr": self._rate}
        out, self._state = self._session.run(None, feeds)
        return float(out[0, 0])

    def reset(self) -> None:
        """See `Network`."""
        self._state = np.zeros((2, 1, 128), np.float32)
        self._input = np.zeros((1, CONTEXT + BLOCK), np.float32)


class TorchNetwork:
    """The network as the package itself runs it; keeps its own context."""

    def __init__(self) -> None:
        import torch

        threads = torch.get_num_threads()
        try:
            from silero_vad import load_silero_vad

            self._model: Any = load_silero_vad()
        finally:
            # The import sets one thread for the whole process, which would slow the encoder.
            torch.set_num_threads(threads)
        self._torch: Any = torch
        self.reset()

    def probability(self, block: NDArray[np.float32]) -> float:
        """See `Network`."""
        with self._torch.inference_mode():
            return float(self._model(self._torch.from_numpy(block)[None], SAMPLE_RATE))

    def reset(self) -> None:
        """See `Network`."""
        self._model.reset_states()


def load_network() -> Network:
    """The network on the fastest runtime that is installed.

    Raises MissingExtraError where the `silero_vad` package is missing.
    """
    package = importlib.util.find_spec("silero_vad")
    if package is None or not package.submodule_search_locations:
        raise MissingExtraError("vad.engine = 'silero'", "silero")
    model = Path(package.submodule_search_locations[0]) / "data" / "silero_vad.onnx"
    if importlib.util.find_spec("onnxruntime") is not None and model.is_file():
        return OnnxNetwork(model)
    return TorchNetwork()


class SileroVad:
    """Re-blocks 20 ms frames into the network's 32 ms blocks; a frame's decision is the newest block's.

    `threshold`: probability from which a block is speech. `network`: another one than the installed
    one; it has state, so it serves this stream only.
    """

    def __init__(self, threshold: float, network: Network | None = None) -> None:
        self._threshold = threshold
        self._network = network if network is not None else load_network()
        self._pending: NDArray[np.float32] = np.zeros(BLOCK, np.float32)
        self._filled = 0
        self._speech = False
        self._quiet = 0

    def is_speech(self, frame: NDArray[np.float32]) -> bool:
        """Whether the newest whole block is speech. `frame`: float32 (320,) in [-1, 1]; NaN counts as 0."""
        check_frame(frame, FRAME)
        frame = np.nan_to_num(frame)
        take = min(FRAME, BLOCK - self._filled)  # a frame is shorter than a block: it completes one at most
        self._pending[self._filled : self._filled + take] = frame[:take]
        self._filled += take
        if self._filled == BLOCK:
            self._speech = self._network.probability(self._pending) >= self._threshold
            self._count_quiet()
            self._filled = FRAME - take
            self._pending[: self._filled] = frame[take:]
        return self._speech

    def _count_quiet(self) -> None:
        if self._speech:
            self._quiet = 0
            return
        self._quiet += BLOCK
        if self._quiet >= RESET_AFTER:
            self._network.reset()
            self._quiet = 0

    def reset(self) -> None:
        """Forget the network's state, the samples of an unfinished block and the last decision."""
        self._network.reset()
        self._filled = 0
        self._speech = False
        self._quiet = 0
