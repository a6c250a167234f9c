"""One stream's state behind the engine: what is stable, which tag slots are due, which sounds are on."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from streamer.asr.attended import Frontier
from streamer.asr.before import Before
from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.edits import Editor
from streamer.asr.guards import UNHEARD, Opinion, Reason, judge
from streamer.asr.policy import Hypothesis, Policy, make_policy, shown, to_frames
from streamer.asr.tokenizer import Tokenizer
from streamer.asr.words import TimedWord
from streamer.config import Config
from streamer.engine import Request, Result
from streamer.events import (
    Emotion,
    Event,
    SoundStarted,
    SoundStopped,
    SoundTags,
    TranscriptFinal,
    TranscriptPartial,
    Word,
)
from streamer.passes import SHORTEST_VIEW, Kind, Pass
from streamer.tagging.detector import SILENCE, SPEECH, Change, Detector, Onset, top_k
from streamer.timebase import FRAME, SAMPLE_RATE, TOKEN, ceil_to, to_samples, to_seconds

if TYPE_CHECKING:  # torch is for whom it is needed
    from streamer.asr.transcriber import Model
    from streamer.nn.emotion import EmotionHead

log = logging.getLogger(__name__)

LATE = 16
"""Windows behind an utterance that may be heard before its final is."""


class Track:
    """Turns passes into requests and results into events. Belongs to the inference thread."""

    def __init__(self, stream: str, config: Config, model: Model, tokenizer: Tokenizer) -> None:
        self.stream = stream
        self._config = config
        self._labels = model.labels
        self._tokenizer = tokenizer
        self._emotion = model.emotion
        self._policy: Policy = make_policy(config.live, tokenizer)
        self._editor = Editor(config.text)
        self._edited = self._said_until = 0
        """The utterance whose texts are edited, and the sample index at which the last one ended."""
        self._before = Before(config.text, tokenizer)
        self._prompt: tuple[int, ...] = ()
        """What the decoder is told of in all passes of an utterance."""
        self._fixed = None if config.model.language == "auto" else config.model.language
        self._language = self._fixed
        """The utterance's: settled with its first stable word."""
        self._utterance = 0
        self._frames: tuple[int, ...] = ()
        """Where the committed tokens were heard."""
        self._hop = to_samples(config.sounds.hop)
        self._window = to_samples(config.sounds.window)
        self._heard = 0
        """Sample index up to which tag slots are done or asked for."""
        self._detector = (
            Detector(model.labels, model.thresholds, config.sounds)
            if config.sounds.enabled and model.tags
            else None
        )
        segment = config.segment
        # The segmenter may cut a long utterance anywhere behind this. A word from after the cut must not
        # have become stable before it, for it belongs to the next utterance.
        self._uncut = to_samples(segment.longest - min(segment.cut_search, segment.longest / 2)) - FRAME
        self.position = 0
        """Sample index up to which everything has been inferred."""
        self.complete: tuple[int, int] | None = None
        """The newest utterance whose text a partial found complete, and the sample index up to which."""
        self.finals = 0
        self.suppressed: dict[str, int] = {}
        """Finals whose text was not believed, by the reason."""
        windows = math.ceil(segment.longest / config.sounds.hop)
        self._opinions: deque[tuple[int, Opinion]] = deque(maxlen=windows + LATE)
        """The tag head's, newest last: where its window began, and what it heard there."""
        self._speech = np.array([label.name in SPEECH for label in model.labels], bool)
        self._sound = np.array([label.name not in SPEECH | {SILENCE} for label in model.labels], bool)
        self._scores = np.zeros(len(model.labels), np.float32)
        self._scored = 0
        """The newest window's scores, and where it ended."""
        self._aside = False
        """Whether the window of the last request is only for an opinion on its text, between two hops."""
        self._has_opinions = bool(self._detector and self._speech.any() and self._sound.any())

    def request(self, p: Pass) -> Request | None:
        """What the engine shall do for a pass that needs it; None where nothing of it is wanted any more.

        Every request has to be run and its result given to `events`, in order: its tag slots count as done.
        """
        text = None
        if p.has_text:
            if p.utterance != self._utterance:
                self._utterance = p.utterance
                self._policy.reset()
                self._frames = ()
                self._prompt = self._before.prompt(self._is_soon(p))
                self._language = self._fixed
            guards, ended = self._config.guards, p.kind is Kind.FINAL
            text = DecodeOptions(
                language=self._language,
                task=self._config.model.task,
                prompt=self._prompt,
                prefix=self._policy.committed,
                duration=len(p.samples) / SAMPLE_RATE,
                ended=ended,
                frontier=self._frontier(p),
                beam=self._config.text.beam if ended else 1,
                patience=self._config.text.beam_patience,
                length_penalty=self._config.text.length_penalty,
                again=tuple(self._config.text.temperatures) if ended else (),
                compression=guards.compression,
                least_logprob=guards.logprob,
                no_speech=guards.no_speech,
            )
        windows = self._windows(p)
        self._aside = not windows and p.kind is Kind.FINAL and self._opinion_of(p) == UNHEARD
        if self._aside:
            windows = _whole(p, self._window)
        if text is None and not windows:
            return None
        return Request(p.samples, text, self._frames if text else (), windows)

    def _frontier(self, p: Pass) -> Frontier | None:
        """How far a decoder may go: a final's audio has ended, all of it may be read."""
        live = self._config.live
        if p.kind is Kind.FINAL or live.policy != "alignatt":
            return None
        return Frontier(len(p.samples) // FRAME, to_frames(live.margin), to_frames(live.jump_back))

    def _windows(self, p: Pass) -> tuple[tuple[int, int], ...]:
        """The tag windows due in a pass, in pooled tokens from its start: one for each hop not heard yet.

        What was steady is heard once for all of them: in a longer context a window would have other scores.
        """
        if self._detector is None:
            return ()
        first = ceil_to(max(self._heard + 1, p.start + 1), self._hop)
        ends = list(range(first, p.end + 1, self._hop))
        if p.kind is Kind.AMBIENT and p.end > self._heard and p.end not in ends:
            ends.append(p.end)
        elif p.kind is Kind.STEADY:
            ends = ends[-1:]
        windows = []
        for end in ends:
            last = (end - p.start) // TOKEN
            begin = max(0, last - self._window // TOKEN)
            if last - begin >= SHORTEST_VIEW:
                windows.append((begin, last))
                self._heard = end
        return tuple(windows)

    def events(self, p: Pass, request: Request | None, result: Result | None) -> Iterator[Event]:
        """What a finished pass says. `request` and `result` are None where the encoder was not needed."""
        if request is not None and result is not None:
            if request.windows:
                yield from self._sounds(p, request, result)
            if p.kind is Kind.PARTIAL:
                yield from self._partial(p, result)
            elif p.kind is Kind.FINAL:
                yield self._final(p, result)
                if self._emotion is not None and result.emotion:
                    yield self._judged(p, self._emotion, result.emotion)
        elif self._detector is not None and p.kind in (Kind.SILENT, Kind.END):
            is_over = p.kind is Kind.END
            yield from map(self._change, (self._detector.flush if is_over else self._detector.silence)(p.end))
            self._heard = max(self._heard, p.end)
        self.position = max(self.position, p.end)

    def _sounds(self, p: Pass, request: Request, result: Result) -> Iterator[Event]:
        assert self._detector is not None
        if p.kind is Kind.STEADY:  # nothing has changed since the window before
            for end in range(ceil_to(max(self._scored, p.start) + 1, self._hop), p.end, self._hop):
                yield from map(self._change, self._detector.push(end - self._window, end, self._scores))
        for (first, last), scores in zip(request.windows, result.scores, strict=True):
            start, end = p.start + first * TOKEN, p.start + last * TOKEN
            if self._has_opinions:
                opinion = Opinion(float(scores[self._speech].max()), float(scores[self._sound].max()))
                self._opinions.append((start, opinion))
            if self._aside:
                return
            yield SoundTags(
                stream=self.stream,
                start=to_seconds(start),
                end=to_seconds(end),
                tags=top_k(scores, self._labels, self._config.sounds.top_k),
            )
            yield from map(self._change, self._detector.push(start, end, scores))
            self._scores, self._scored = scores, end

    def _change(self, change: Change) -> Event:
        label = change.label
        if isinstance(change, Onset):
            return SoundStarted(
                stream=self.stream,
                sound=change.sound,
                label=label.name,
                id=label.id,
                start=to_seconds(change.start),
                score=round(change.score, 3),
            )
        return SoundStopped(
            stream=self.stream,
            sound=change.sound,
            label=label.name,
            id=label.id,
            start=to_seconds(change.start),
            end=to_seconds(change.end),
            peak=round(change.peak, 3),
        )

    def _partial(self, p: Pass, result: Result) -> Iterator[Event]:
        decoded = result.decoded
        assert decoded is not None
        if decoded.lost or self._suppressed(p, decoded):
            return
        heard = len(p.samples) // FRAME
        found = Hypothesis(
            decoded.tokens, result.frames, heard, decoded.language, decoded.beyond, decoded.sure
        )
        if len(p.samples) <= self._uncut:
            self._policy.hypothesis(found)
        self._frames = result.frames[: len(self._policy.committed)]
        if self._policy.committed:
            self._language = decoded.language
        if decoded.text and self._is_complete(p, decoded, result.frames):
            self.complete = (p.utterance, p.end)
        kept = max(
            shown(self._tokenizer, found, to_frames(self._config.live.tail)), self._policy.committed, key=len
        )
        seen = self._tokenizer.decode(kept).strip()
        text, stable = self._editor_of(p).partial(seen, self._policy.stable)
        if text:
            yield TranscriptPartial(
                stream=self.stream,
                utterance=p.utterance,
                start=to_seconds(p.start),
                end=to_seconds(p.end),
                text=text,
                stable=stable,
            )

    def _is_complete(self, p: Pass, decoded: Decoded, frames: tuple[int, ...]) -> bool:
        """Whether a partial's text has come to its end before its audio has."""
        if decoded.complete is not None:
            return decoded.complete
        return bool(frames) and frames[-1] < len(p.samples) // FRAME - to_frames(self._config.live.margin)

    def _editor_of(self, p: Pass) -> Editor:
        """What edits the texts of a pass's utterance."""
        if p.utterance != self._edited:
            self._edited = p.utterance
            self._editor.begin(self._is_soon(p))
        return self._editor

    def _is_soon(self, p: Pass) -> bool:
        """Whether a pass's utterance goes on with what was said before it."""
        return p.start - self._said_until <= to_samples(self._config.text.pause)

    def _final(self, p: Pass, result: Result) -> Event:
        decoded = result.decoded
        assert decoded is not None
        self.finals += 1
        words = result.words
        reason = self._suppressed(p, decoded)
        self._before.said(decoded, believed=reason is None)
        if reason is not None:
            self.suppressed[reason.value] = self.suppressed.get(reason.value, 0) + 1
            # What has been called stable stays.
            stable = self._tokenizer.decode(decoded.tokens[: decoded.prefix_length]).strip()
            decoded = replace(decoded, text=stable)
            words = _first_words(words, decoded.text)
        text, words = self._editor_of(p).final(decoded.text, words)
        self._said_until = p.end
        return TranscriptFinal(
            stream=self.stream,
            utterance=p.utterance,
            start=to_seconds(p.start),
            end=to_seconds(p.end),
            text=text,
            words=[self._word(p, word) for word in words],
            language=decoded.language,
            avg_logprob=round(decoded.avg_logprob, 4),
            no_speech_prob=round(decoded.no_speech_prob, 4),
            latency_ms=round(1000 * (time.monotonic() - p.decided), 1),
        )

    def _opinion_of(self, p: Pass) -> Opinion | None:
        """What the tag head makes of a pass's utterance so far: of every window that begins within it.

        Without partials, ambient passes hear the sounds of a long utterance.
        """
        if not self._has_opinions:
            return None
        found = UNHEARD
        for start, one in self._opinions:
            if p.start <= start < p.end:
                found = found.and_also(one.speech, one.sound)
        return found

    def _suppressed(self, p: Pass, decoded: Decoded) -> Reason | None:
        """Why a text is not believed, if it is not."""
        reason = judge(decoded, self._config.guards, self._opinion_of(p))
        if reason is not None:
            text = self._editor.alone(decoded.text)  # a log keeps personal data longer than a screen
            log.debug("%s, utterance %d: %r suppressed: %s", p.stream, p.utterance, text, reason)
        return reason

    def _judged(self, p: Pass, head: EmotionHead, scores: tuple[float, ...]) -> Event:
        likeliest = head.labels[scores.index(max(scores))]
        return Emotion(
            stream=self.stream,
            utterance=p.utterance,
            start=to_seconds(p.start),
            end=to_seconds(p.end),
            label=likeliest if head.kind == "classes" else "",
            kind=head.kind,
            scores={label: round(score, 4) for label, score in zip(head.labels, scores, strict=True)},
        )

    def _word(self, p: Pass, word: TimedWord) -> Word:
        return Word(
            text=word.text,
            start=to_seconds(p.start + word.start * FRAME),
            end=min(to_seconds(p.start + word.end * FRAME), to_seconds(p.end)),
            probability=round(word.probability, 3),
        )


def _whole(p: Pass, window: int) -> tuple[tuple[int, int], ...]:
    """All of a pass as one window of at most so many samples, in pooled tokens; none where it is short."""
    last = min(len(p.samples), window) // TOKEN
    return ((0, last),) if last >= SHORTEST_VIEW else ()


def _first_words(words: list[TimedWord], text: str) -> list[TimedWord]:
    """As many of a text's words as its beginning `text` has letters for."""
    kept, left = [], len(text.replace(" ", ""))
    for word in words:
        left -= len(word.text.replace(" ", ""))
        if left < 0:
            break
        kept.append(word)
    return kept
