"""What a short context costs a checkpoint: its states, its texts and its sounds, against its full context."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.asr.decode import DecodeOptions
from streamer.asr.tokenizer import Tokenizer
from streamer.backends.base import BUCKET, SHORTEST, Encoded, Floats
from streamer.backends.torch import WhisperNetwork
from streamer.engine import Engine, Request
from streamer.evaluation.texts import Errors, word_errors
from streamer.nn.checkpoint import LoadedModel
from streamer.nn.definition import ContextInfo
from streamer.nn.whisper import Whisper
from streamer.timebase import FRAME, FULL_CONTEXT, SAMPLE_RATE, TOKEN, to_samples
from streamer.training.bars import track
from streamer.training.context.config import Limits
from streamer.training.context.distil import Spread, apart
from streamer.training.context.pieces import Known

Samples = NDArray[np.float32]
FULL = ContextInfo()


@dataclass(frozen=True, slots=True)
class Heard:
    """One recording through the engine: its audio's frames, and what was read from them.

    context: samples that the encoder saw.
    """

    known: Known
    text: str
    scores: NDArray[np.float32]
    context: int


@dataclass(frozen=True, slots=True)
class Apart:
    """How far recordings are from what the checkpoint as it was says in its full context.

    states, layers: see `distil.apart`, means over recordings. texts: other words, in per cent of those of
    the full context; None where nothing was written. sounds: mean of each recording's greatest difference of
    a score; None without a tag head.
    """

    states: float
    layers: tuple[float, ...]
    texts: float | None
    sounds: float | None

    def within(self, limits: Limits) -> bool:
        """Whether that is near enough. States alone do not say: somebody has to have read them."""
        return (
            (self.texts is not None or self.sounds is not None)
            and self.states <= limits.states
            and (self.texts is None or self.texts <= limits.texts)
            and (self.sounds is None or self.sounds <= limits.sounds)
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A margin in seconds, None for the full context; seconds of context it came to in the mean.

    before: the checkpoint as it was. after: what it has become.
    """

    margin: float | None
    context: float
    before: Apart
    after: Apart


class Listener:
    """A model as the daemon runs it, in any context. `whisper`: instead of its own encoder and decoder."""

    def __init__(
        self, model: LoadedModel, whisper: Whisper, tokenizer: Tokenizer, dtype: torch.dtype, writes: bool
    ) -> None:
        # Copies, because whoever computes takes them into its own precision.
        parts = {name: copy.deepcopy(getattr(model, name)) for name in ("tags", "ctc")}
        self._model = replace(model, model=copy.deepcopy(whisper), **parts)
        self._tokenizer, self._dtype, self._writes = tokenizer, dtype, writes

    def hear(self, clips: Iterable[Samples], context: ContextInfo, language: str | None) -> list[Heard]:
        """Recordings (n,), each in a pass of its own."""
        info = self._model.info.model_copy(update={"context": context})
        network = _Remembering(replace(self._model, info=info), self._dtype)
        engine = Engine(network.model, self._tokenizer, self._dtype, network=network)
        return [self._hear(engine, network, clip, language) for clip in clips]

    def _hear(self, engine: Engine, network: _Remembering, clip: Samples, language: str | None) -> Heard:
        options = DecodeOptions(language, duration=len(clip) / SAMPLE_RATE)
        tokens = len(clip) // TOKEN
        window = self._model.window
        whole = min(tokens, int(window * SAMPLE_RATE) // TOKEN) if window else tokens
        request = Request(
            clip,
            options if self._writes else None,
            windows=((0, whole),) if self._model.tags is not None else (),
        )
        (result,) = engine.run([request])
        encoded = network.last
        assert encoded is not None
        assert encoded.layers is not None
        return Heard(
            Known(encoded.states[0, : len(clip) // FRAME].float(), encoded.layers[0, :, :tokens].float()),
            result.decoded.text if result.decoded is not None else "",
            result.scores.ravel(),
            engine.context(len(clip)),
        )


class _Remembering(WhisperNetwork):
    """Keeps what the last pass left behind, all layers of it."""

    def __init__(self, model: LoadedModel, dtype: torch.dtype) -> None:
        super().__init__(model, dtype)
        self.model = model
        self.last: Encoded | None = None

    def encode(self, clips: Sequence[Floats], length: int, pooled: bool, judged: bool) -> Encoded:
        """See Network."""
        del pooled
        self.last = super().encode(clips, length, True, judged)
        return self.last


def judge(
    before: Listener,
    after: Listener,
    clips: Sequence[Samples],
    margins: Sequence[float],
    language: str | None = None,
    measured_on: str = "-",
    progress: bool = True,
) -> list[Row]:
    """A row for each margin, and one for the full context at the end.

    before, after: what is compared with what `before` says in the full context. clips: recordings (n,) of
    TOKEN samples or more, at most FULL_CONTEXT.
    """
    wanted = before.hear(track(clips, "full context", progress), FULL, language)
    spread = Spread.of(one.known for one in wanted)
    rows = []
    for margin in (*margins, None):
        if margin is None:
            context, name = FULL, "full context, after"
        else:
            context = ContextInfo(short=True, margin=margin, encoder=measured_on)
            name = f"margin {margin:g} s"
        first = wanted
        if margin is not None:
            first = before.hear(track(clips, f"{name}, before", progress), context, language)
        second = after.hear(track(clips, name, progress), context, language)
        seconds = float(np.mean([one.context for one in second])) / SAMPLE_RATE
        told = [compare(found, wanted, spread) for found in (first, second)]
        rows.append(Row(margin, round(seconds, 2), *told))
    return rows


def compare(found: Sequence[Heard], wanted: Sequence[Heard], spread: Spread) -> Apart:
    """Recordings in some context against the same in the full one."""
    pairs = list(zip(found, wanted, strict=True))
    states, *layers = torch.stack([apart(a.known, b.known, spread) for a, b in pairs]).mean(0).tolist()
    errors = sum((_errors(_plain(b.text), _plain(a.text)) for a, b in pairs), Errors())
    sounds = [float(np.abs(a.scores - b.scores).max()) for a, b in pairs if b.scores.size]
    return Apart(
        states,
        tuple(layers),
        errors.rate if errors.length else None,
        float(np.mean(sounds)) if sounds else None,
    )


def earned(rows: Sequence[Row], limits: Limits) -> float | None:
    """The smallest margin that is near enough; None where none is, or where the full context no longer is."""
    full = [row for row in rows if row.margin is None]
    if not all(row.after.within(limits) for row in full):
        return None
    near = [row.margin for row in rows if row.margin is not None and row.after.within(limits)]
    return min(near, default=None)


def middles(recordings: Sequence[Samples], margins: Sequence[float]) -> list[Samples]:
    """Recordings (n,), of long ones the middle: so much that the largest of the margins fits behind it."""
    longest = max(SHORTEST, FULL_CONTEXT - to_samples(max(margins)) - BUCKET)
    starts = [max(0, len(one) - longest) // 2 for one in recordings]
    return [one[start : start + longest] for one, start in zip(recordings, starts, strict=True)]


def _errors(wanted: str, found: str) -> Errors:
    return word_errors(wanted, found) if wanted else Errors(insertions=len(found.split()))


def _plain(text: str) -> str:
    """Words alone, in small letters."""
    return " ".join(re.findall(r"[\w']+", text.casefold()))
