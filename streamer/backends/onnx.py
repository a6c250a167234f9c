"""ONNX Runtime, for models of ours: starts without torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from streamer.audio.mel import log_mel
from streamer.backends import graphs, processor
from streamer.backends.base import Encoded, Floats, Follow, Tokens, context_for
from streamer.backends.graphs import Layers
from streamer.backends.onnx_decoder import OnnxDecoder
from streamer.backends.session import session
from streamer.backends.stored import StoredModel, Weights
from streamer.nn.definition import WordsInfo
from streamer.timebase import FRAME


class OnnxNetwork:
    """A model of ours. See `base.Network`; arrays are numpy's."""

    def __init__(
        self, model: StoredModel, threads: int, weights: Weights | None = None, writes: bool = False
    ) -> None:
        """weights: where they are not in a folder of ours. writes: its decoder is to write.

        Raises CheckpointError for weights that are not what the definition promises, ModelError where ONNX
        Runtime is missing, or cannot run the model here.
        """
        info = model.info
        self._dims, self._context = info.dims, info.context
        net = partial(Layers, weights or Weights.of(model.directory), processor.multiplies_signed())
        dims = info.dims
        self._encoder = session(graphs.encoder(net(), dims, info.tags is not None), threads)
        self._tags = session(graphs.tags(net(), dims, info.tags), threads) if info.tags else None
        self._ctc = session(graphs.ctc(net(), dims), threads) if info.ctc else None
        self.writer = OnnxDecoder(net, info, threads) if writes else None
        asked = not writes and info.ctc is not None and (info.words or WordsInfo()).decoder > 0
        self._follower = session(graphs.follower(net(), dims), threads) if asked else None

    @property
    def follow(self) -> Follow | None:
        """See Network. There is none where nobody would ask it."""
        return self._follow if self._follower is not None else None

    def context(self, samples: int) -> int:
        """See Network."""
        return context_for(samples, self._context.short, self._context.samples)

    def frames(self, samples: int) -> int:
        """See Network."""
        return samples // FRAME

    def encode(self, clips: Sequence[Floats], length: int, pooled: bool, judged: bool) -> Encoded:
        """See Network. It judges nothing."""
        del judged
        n_mels = self._dims.n_mels
        mel = np.stack([log_mel(np.pad(clip, (0, length - len(clip))), n_mels) for clip in clips])
        states, *layers = self._encoder.run(["states", "layers"] if pooled else ["states"], {"mel": mel})
        return Encoded(states, layers[0] if layers else None, [()] * len(clips))

    def tags(self, windows: Sequence[Floats]) -> Floats:
        """See Network."""
        assert self._tags is not None
        scores: Floats = self._tags.run(None, {"layers": np.stack(windows)})[0]
        return scores

    def ctc(self, states: Floats) -> Floats:
        """See Network."""
        assert self._ctc is not None
        logprobs: Floats = self._ctc.run(None, {"states": states})[0][0]
        return logprobs

    def _follow(self, states: Floats, given: Tokens, wanted: Tokens) -> Floats:
        assert self._follower is not None
        feeds = {"states": states, "given": given, "wanted": wanted}
        logprobs: Floats = self._follower.run(None, feeds)[0]
        return logprobs
