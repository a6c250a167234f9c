"""What every module of the server shares, and the little it needs to know about the pipeline."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import streamer
from streamer.audio.source import Source
from streamer.bus import Bus
from streamer.config import ServerConfig
from streamer.events import Hello, SourceState, StreamStats
from streamer.server.pushed import PushedStreams


class ModelLike(Protocol):
    """The loaded model, as clients are told about it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def languages(self) -> Sequence[str]:
        """Language codes it transcribes."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the sounds it knows."""


class PipelineLike(Protocol):
    """The part of the pipeline that the server uses. All of it may be called from any thread."""

    @property
    def model(self) -> ModelLike:
        """The loaded model."""

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and warm."""

    def add(self, source: Source) -> None:
        """Start a stream; StreamerError if there is one of this name."""

    def remove(self, name: str) -> None:
        """Forget a stream; ProtocolError if there is none of this name."""

    def pause(self, name: str) -> None:
        """Stop listening without closing the source; ProtocolError for an unknown name."""

    def resume(self, name: str) -> None:
        """Listen again; ProtocolError for an unknown name."""

    def states(self) -> Mapping[str, SourceState]:
        """Every stream and what its source is doing."""

    def stats(self) -> Mapping[str, StreamStats]:
        """Totals and rates of every stream."""


@dataclass(slots=True)
class Context:
    """One server's parts. `draining` is set once no new client is wanted."""

    config: ServerConfig
    pipeline: PipelineLike
    bus: Bus
    pushed: PushedStreams
    draining: bool = False

    def hello(self) -> Hello:
        """The first message of a connection: what there is to listen to."""
        model = self.pipeline.model
        return Hello(
            time=round(time.time(), 3),
            version=streamer.__version__,
            model=model.name,
            languages=list(model.languages),
            labels=list(model.labels),
            streams=dict(self.pipeline.states()),
            last_seq=self.bus.last_seq,
            oldest_seq=self.bus.oldest_seq,
            instance=self.bus.instance,
        )
