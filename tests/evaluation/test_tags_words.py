"""What speech does to sounds and sounds to words, on scenes made by hand."""

from __future__ import annotations

import pytest

from streamer.evaluation.tags_events import match
from streamer.evaluation.tags_heard import Heard, Reported
from streamer.evaluation.tags_scenes import Scene, TrueSound, TrueSpeech
from streamer.evaluation.tags_words import Listened, false_sounds, false_words, overlaps
from tests.evaluation.test_tags_heard import final


def heard(*labels: str, text: str = "") -> Heard:
    return Heard([Reported(label, 2.0, 4.0, 0.9, 4.0) for label in labels], [], [final(1.0, text)])


def scenes(mixture: int, snr: float, alone: Heard, speech: Heard, both: Heard) -> list[tuple[Scene, Heard]]:
    sound, over = TrueSound(2, 4, "Dog"), TrueSound(2, 4, "Dog", speech_snr=snr)
    said = (TrueSpeech(1, 5, "One, two three four!", snr),)
    return [
        (Scene("a.wav", 30, mixture, "sounds", (sound,)), alone),
        (Scene("b.wav", 30, mixture, "speech", (), said), speech),
        (Scene("c.wav", 30, mixture, "both", (over,), said), both),
    ]


def test_the_same_sounds_and_words_with_and_without_the_other() -> None:
    pytest.importorskip("whisper.normalizers", reason="texts in Whisper's normal form")
    listened: Listened = [
        *scenes(0, 0.0, heard("Dog"), heard(text="one two three four"), heard(text="one two for")),
        *scenes(1, 10.0, heard("Dog"), heard(text="one two three four"), heard("Dog", text="one two three")),
        *scenes(2, 10.0, heard(), heard(text="one two"), heard(text="")),
    ]
    matched = [match(scene, one.sounds, 1.0) for scene, one in listened]
    quiet, loud = overlaps(matched, listened)
    assert (quiet.snr, quiet.sounds, quiet.found_alone, quiet.found_under_speech) == (0.0, 1, 1.0, 0.0)
    assert (loud.snr, loud.sounds, loud.found_alone, loud.found_under_speech) == (10.0, 2, 0.5, 0.5)
    # Whisper's normal form writes 1 2 3 4 as one number: words are counted after it.
    assert quiet.wer_alone == 0
    assert quiet.wer_over_sounds > 0
    assert loud.wer_over_sounds > loud.wer_alone > 0
    assert loud.words == 2 * quiet.words > 0


def test_without_speech_there_is_nothing_to_compare() -> None:
    listened = [(Scene("a.wav", 30, 0, "sounds", (TrueSound(2, 4, "Dog"),)), heard("Dog"))]
    assert overlaps([match(listened[0][0], listened[0][1].sounds, 1.0)], listened) == []


def test_what_is_reported_of_nothing() -> None:
    one = Scene("a.wav", 1800, 0, "speech-only")
    sounds = false_sounds([(one, heard("Cat", "Dog", "Cat")), (one, heard())])
    assert (sounds.seconds, sounds.count, sounds.per_hour) == (3600, 3, 3)
    assert list(sounds.what.items()) == [("Cat", 2), ("Dog", 1)]
    words = false_words([(one, heard(text="the end")), (one, heard(text=" ")), (one, heard(text="the end"))])
    assert (words.count, dict(words.what)) == (4, {"the end": 2})
