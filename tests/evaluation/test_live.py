from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from streamer.asr.decode import DecodeOptions
from streamer.engine import Engine, Request
from streamer.errors import StreamerError
from streamer.evaluation.asr import Samples
from streamer.evaluation.live import AFTER, LEAD, Spread, listen, recording
from streamer.evaluation.sets import SpokenWord, Utterance
from streamer.evaluation.timeline import Flicker, Seen
from tests.evaluation.test_timeline import SPOKEN, STORY, final
from tests.tiny import tiny_model, tiny_tokenizer

pytest.importorskip("jiwer")
pytest.importorskip("whisper.normalizers")


class Script:
    """A player whose story is written already; every recording costs two passes."""

    def __init__(self, engine: Engine, *stories: list[Seen]) -> None:
        self.engine, self.stories = engine, list(stories)
        self.entered = 0

    def __enter__(self) -> Script:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.entered += 1

    def play(self, samples: Samples) -> list[Seen]:
        for _ in range(2):
            self.engine.run([Request(samples, DecodeOptions(max_tokens=3))])
        return self.stories.pop(0)


def one(text: str, words: tuple[SpokenWord, ...] = (), seconds: float = 2.0) -> Utterance:
    return Utterance(Path("x.wav"), text, words=words)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * 16_000), np.float32)


def test_silence_goes_around_and_times_with_it() -> None:
    made = recording(one("a"), np.ones(16_000, np.float32), [SpokenWord("a", 0.2, 0.7)], hangover=0.4)
    assert made.words == (SpokenWord("a", 0.2 + LEAD, 0.7 + LEAD),)
    assert len(made.samples) == round((LEAD + 1 + 0.4 + AFTER) * 16_000)
    (loud,) = np.nonzero(made.samples)
    assert (loud[0], len(loud)) == (LEAD * 16_000, 16_000)
    assert made.samples.dtype == np.float32


def test_everything_is_added_up() -> None:
    engine = Engine(tiny_model(), tiny_tokenizer())
    script = Script(engine, STORY, [final(1.0, "yes")])
    words = [
        SpokenWord(w.text, w.start - LEAD, w.end - LEAD) for w in SPOKEN
    ]  # the story has its lead already
    recordings = [
        recording(one("Good morning to you."), silence(2.1), words, 0.4),
        recording(one("no sir"), silence(1.1), [], 0.4),
    ]
    score = listen(script, engine, recordings)
    assert script.entered == 2
    assert (score.words.total, score.words.length) == (2, 6)
    assert score.flicker == Flicker(3, 0, 5)
    assert score.erasure == pytest.approx(3 / 5)
    assert (score.recordings, score.timed, len(score.lags), len(score.ends)) == (2, 4, 4, 1)
    assert score.seconds == pytest.approx(2.1 + 1.1 + 2 * (LEAD + 0.4 + AFTER))
    assert score.partials == 3
    assert score.rate(score.partials) == pytest.approx(3 / score.seconds)
    assert score.passes == engine.encoder_passes == 4
    assert score.tokens == engine.tokens > 0
    assert score.computing == pytest.approx(engine.seconds)
    assert score.spread(lambda lag: lag.stable).median == pytest.approx(1.3)
    assert score.ends_spread(lambda end: end.spoken).mean == pytest.approx(0.8)
    assert score.memory > 2**20


def test_a_spread() -> None:
    assert Spread.of([]) == Spread(None, None, None)
    assert astuple(Spread.of([1.0, 2.0, 6.0])) == pytest.approx((3.0, 2.0, 5.6))


def test_no_recordings() -> None:
    engine = Engine(tiny_model(), tiny_tokenizer())
    with pytest.raises(StreamerError, match="recordings to play, found none"):
        listen(Script(engine), engine, [])
