"""whisper.cpp on the same utterance, as in the wheel `pywhispercpp`: random weights of an official size."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from streamer.audio.mel import filterbank
from streamer.errors import MissingExtraError
from streamer.evaluation.engine_cost import FINAL, Run, Samples, random_model
from streamer.nn.whisper import Whisper, WhisperDims
from streamer.timebase import FRAME, FULL_CONTEXT, SAMPLE_RATE

MAGIC = 0x67676D6C
HALF = 1
"""What ggml calls a tensor in float16; 0 is float32."""

WHOLE = {"encoder.positional_embedding", "decoder.positional_embedding"}
"""What stays float32, beside what has one dimension."""

PIECE, VOCABULARY = "text", 50_257
"""Pieces of text that its vocabulary has, and how they begin; it makes up the names of the other tokens."""

SETTINGS: dict[str, Any] = {
    "language": "en",
    "greedy": {"best_of": 1},
    "single_segment": True,
    "no_timestamps": True,
    "no_context": True,
    "print_progress": False,
    "print_realtime": False,
    "temperature_inc": 0.0,  # random weights never please it: one try
}


class WhisperCpp:
    """whisper.cpp in float16, greedy and without timestamps: padded to 30 s, and on the utterance alone."""

    def __init__(self, dims: WhisperDims) -> None:
        try:
            from pywhispercpp.model import Model
        except ImportError as error:
            raise MissingExtraError("a comparison with whisper.cpp", "peers") from error
        self.source = random_model(dims).model
        """The same weights, not rounded."""
        self._folder = tempfile.TemporaryDirectory(prefix="streamer-whisper-cpp-", ignore_cleanup_errors=True)
        file = Path(self._folder.name) / "model.bin"
        with file.open("wb") as out:
            write_ggml(self.source, out)
        self._model: Any = Model(str(file), redirect_whispercpp_logs_to=None, **SETTINGS)

    def __call__(self, samples: Samples, count: int, threads: int) -> list[Run]:
        """Whole, at 30 s and at the utterance's length."""
        found = []
        for length in dict.fromkeys((FULL_CONTEXT, len(samples))):
            final = partial(self.write, samples, count, threads, length)
            written = final().count(PIECE)
            found.append(Run("whisper.cpp", FINAL, "fp16", length / SAMPLE_RATE, final, written))
        return found

    def write(self, samples: Samples, count: int, threads: int, length: int) -> str:
        """The text of `count` tokens, or of fewer where it chose the end, heard in `length` samples."""
        found = self._model.transcribe(
            samples, n_threads=threads, audio_ctx=length // FRAME, max_tokens=max(1, count - 1)
        )
        return "".join(segment.text for segment in found)


def write_ggml(model: Whisper, out: IO[bytes]) -> None:
    """A model as whisper.cpp's converter of checkpoints writes it, in float16, with a made-up vocabulary."""
    dims = model.dims
    sizes = (
        *(dims.n_vocab, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer),
        *(dims.n_text_ctx, dims.n_text_state or dims.n_audio_state, dims.n_text_head, dims.n_text_layer),
        *(dims.n_mels, HALF),
    )
    out.write(struct.pack(f"<{1 + len(sizes)}i", MAGIC, *sizes))
    filters = filterbank(dims.n_mels)
    out.write(struct.pack("<2i", *filters.shape) + filters.astype("<f4").tobytes())
    words = [b" ", *(f"{PIECE}{i}".encode() for i in range(1, VOCABULARY))]  # it looks for a blank
    out.write(struct.pack("<i", len(words)))
    for word in words:
        out.write(struct.pack("<i", len(word)) + word)
    for part in _tensors(model.state_dict()):
        out.write(part)


def _tensors(state: dict[str, Tensor]) -> Iterator[bytes]:
    for name, tensor in state.items():
        values = tensor.float().numpy()
        half = values.ndim > 1 and name not in WHOLE
        if name.endswith(("conv1.bias", "conv2.bias")):
            values = values[:, None]  # as it adds them
        yield struct.pack("<3i", values.ndim, len(name), HALF if half else 0)
        yield struct.pack(f"<{values.ndim}i", *values.shape[::-1]) + name.encode()
        yield np.ascontiguousarray(values, "<f2" if half else "<f4").tobytes()
