"""ONNX Runtime, for any Whisper: starts without torch. OpenVINO may compute the encoder for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from streamer.audio.mel import log_mels
from streamer.backends import decoder_graphs, graphs, openvino, processor
from streamer.backends.base import LARGEST_BATCH, Encoded, Floats, Follow, Tokens, context_for, plain
from streamer.backends.graphs import Layers
from streamer.backends.onnx_decoder import OnnxDecoder
from streamer.backends.plain import PlainLayers
from streamer.backends.session import session
from streamer.backends.stored import StoredModel, Weights
from streamer.backends.tree import tree
from streamer.nn import silence
from streamer.nn.definition import WordsInfo
from streamer.nn.silence import Thinned
from streamer.timebase import FRAME

Graphs = Mapping[str, Callable[[], bytes] | Path]
"""A model's graphs by their names: what writes each, or the file that it is in."""

Runtime = Literal["onnx", "openvino"]
"""What computes the encoder."""

BATCH = 2
"""Windows a thread that ONNX Runtime's encoder takes at once: each of eight takes 1.2 times as long at 4 s,
1.5 times at 12 s, for what is computed does not stay in the cache."""


def written(
    model: StoredModel, weights: Weights | None = None, writes: bool = False, runtime: Runtime = "onnx"
) -> Graphs:
    """Every graph that a model needs; see `OnnxNetwork`. Raises CheckpointError for unreadable weights."""
    info, dims = model.info, model.info.dims
    thinned = info.context.thinned
    weights = weights or Weights.of(model.directory)
    net = partial(Layers, weights, processor.multiplies_signed())
    found: dict[str, Callable[[], bytes] | Path] = {}
    if runtime == "openvino":
        found["plain"] = lambda: graphs.encoder(PlainLayers(weights), dims, info.tags is not None, thinned)
    else:
        found["encoder"] = lambda: graphs.encoder(net(), dims, info.tags is not None, thinned)
    if (head := info.tags) is not None:
        found["tags"] = lambda: graphs.tags(net(), dims, head)
    if info.ctc is not None:
        found["ctc"] = lambda: graphs.ctc(net(), dims)
    if writes:
        found["hearing"] = lambda: decoder_graphs.hearing(net(), dims)
        found["step"] = lambda: decoder_graphs.step(net(), dims, thinned)
    elif info.ctc is not None and (info.words or WordsInfo()).decoder > 0:
        found["follower"] = lambda: graphs.follower(net(), dims, thinned)
    return found


class OnnxNetwork:
    """A Whisper. See `base.Network`; arrays are numpy's."""

    def __init__(
        self,
        model: StoredModel,
        threads: int,
        weights: Weights | None = None,
        writes: bool = False,
        kept: Mapping[str, Path] | None = None,
        runtime: Runtime = "onnx",
        workers: int = 1,
    ) -> None:
        """weights: where they are not in a folder of ours. writes: its decoder is to write.

        runtime: what computes the encoder, which is most of a pass. kept: its graphs, where they were written
        before, and none of the three is asked for. workers: threads that will ask at once. Raises
        CheckpointError for weights that are not what the definition promises, MissingExtraError without
        OpenVINO where that is to compute, ModelError where ONNX Runtime is missing, or either cannot run the
        model here.
        """
        found: Graphs = kept or written(model, weights, writes, runtime)

        def begin(name: str, ready: Callable[[bytes | Path, int], Any] = session) -> Any:
            one = found[name]
            return ready(one if isinstance(one, Path) else one(), threads)

        info = model.info
        self._dims, self._context = info.dims, info.context
        self.batch = min(BATCH * threads, LARGEST_BATCH) if "encoder" in found else LARGEST_BATCH
        self._encoder = (
            begin("encoder")
            if "encoder" in found
            else begin("plain", partial(openvino.session, workers=workers))
        )
        self._tags = begin("tags") if "tags" in found else None
        self._ctc = begin("ctc") if "ctc" in found else None
        self.writer = OnnxDecoder(info, begin("hearing"), begin("step")) if "step" in found else None
        self._follower = begin("follower") if "follower" in found else None

    @property
    def follow(self) -> Follow | None:
        """See Network. There is none where nobody would ask it."""
        return self._follow if self._follower is not None else None

    def context(self, samples: int) -> int:
        """See Network."""
        return context_for(samples, self._context.cut, self._context.samples)

    def frames(self, samples: int) -> int:
        """See Network."""
        return samples // FRAME

    def encode(self, clips: Sequence[Floats], length: int, pooled: bool, judged: bool) -> Encoded:
        """See Network. It judges nothing."""
        del judged
        more: dict[str, Any] = {}
        if self._context.thinned:
            rest, length = silence.fill(length)
            more = {"places": rest.places, "shares": rest.shares}
        feeds = {"mel": log_mels(clips, length, self._dims.n_mels), **more}
        states, *layers = self._encoder.run(["states", "layers"] if pooled else ["states"], feeds)
        return Encoded(states, layers[0] if layers else None, [()] * len(clips), more.get("shares"))

    def tags(self, windows: Sequence[Floats]) -> Floats:
        """See Network."""
        assert self._tags is not None
        scores: Floats = self._tags.run(None, {"layers": np.stack(windows)})[0]
        return scores

    def ctc(self, states: Floats | Thinned) -> Floats:
        """See Network."""
        assert self._ctc is not None
        logprobs: Floats = self._ctc.run(None, {"states": plain(states)})[0][0]
        return logprobs

    def _follow(self, states: Floats | Thinned, given: Tokens, wanted: Tokens) -> Floats:
        assert self._follower is not None
        heard = states._asdict() if isinstance(states, Thinned) else {"states": states}
        shared, numbers = tree(given)
        feeds = {**heard, **shared._asdict(), "wanted": np.stack([numbers, wanted], axis=-1)}
        logprobs: Floats = self._follower.run(None, feeds)[0]
        return logprobs
