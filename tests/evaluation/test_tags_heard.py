"""The daemon's events, gathered."""

from __future__ import annotations

from streamer.evaluation.tags_heard import Heard, Reported, ScoredWindow
from streamer.events import SoundStarted, SoundStopped, SoundTags, SpeechStarted, Tag, TranscriptFinal


def final(start: float, text: str) -> TranscriptFinal:
    return TranscriptFinal(
        utterance=1,
        start=start,
        end=start + 1,
        text=text,
        words=[],
        language="en",
        avg_logprob=0,
        no_speech_prob=0,
        latency_ms=0,
    )


def test_sounds_windows_and_words() -> None:
    heard = Heard()
    for event in (
        SoundTags(start=0, end=4, tags=[Tag(label="Dog", score=0.9), Tag(label="Rain", score=0.1)]),
        SoundStarted(sound=1, label="Dog", start=3.2, score=0.9),
        SpeechStarted(utterance=1, start=3.0),
        final(9.0, " there "),
        SoundTags(start=0.8, end=4.8, tags=[]),
        SoundStarted(sound=2, label="Rain", start=4.0, score=0.5),
        SoundStopped(sound=1, label="Dog", start=3.2, end=5.0, peak=0.95),
        SoundStopped(sound=2, label="Rain", start=4.0, end=4.8, peak=0.5),
        final(3.0, "hello"),
        final(6.0, ""),
    ):
        heard.add(event)
    assert heard.sounds == [
        Reported("Dog", 3.2, 5.0, 0.95, 4),
        Reported("Rain", 4.0, 4.8, 0.5, 4.8),
    ]
    assert heard.windows == [ScoredWindow(0, 4, {"Dog": 0.9, "Rain": 0.1}), ScoredWindow(0.8, 4.8, {})]
    assert heard.text == "hello there"
