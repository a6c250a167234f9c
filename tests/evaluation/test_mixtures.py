"""Mixtures hold what their truth says, where and as loud as it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.evaluation.mixtures import (
    CEILING,
    FRAME,
    VARIANTS,
    Mixture,
    Sources,
    loud_parts,
    make_mixture,
    sounds_only,
    speech_only,
)
from streamer.evaluation.tags_config import MixtureConfig
from streamer.timebase import SAMPLE_RATE
from tests.evaluation.recordings import HERTZ, noise, recording, silence, sources, tone

CONFIG = MixtureConfig(seconds=12.0, apart=(0.5, 2.0))
seeds = st.integers(0, 2**31)


def power(audio: np.ndarray) -> float:
    return float(np.mean(audio.astype(np.float64) ** 2))


def part(layer: np.ndarray, onset: float, offset: float) -> np.ndarray:
    return layer[round(onset * SAMPLE_RATE) : round(offset * SAMPLE_RATE)]


def decibels(a: float, b: float) -> float:
    return float(10 * np.log10(a / b))


@settings(max_examples=12, deadline=None)
@given(seeds, st.integers(0, 5))
def test_energies_have_the_stated_ratios(seed: int, number: int) -> None:
    made = make_mixture(number, sources(), CONFIG, seed)
    assert made.truth.sounds
    for sound, said in zip(made.truth.sounds, made.truth.speech, strict=True):
        event = power(part(made.sounds, sound.onset, sound.offset))
        assert sound.snr is not None
        assert decibels(event, power(part(made.background, sound.onset, sound.offset))) == pytest.approx(
            sound.snr, abs=0.5
        )
        assert said.snr == sound.speech_snr == CONFIG.speech_snr[number % 3]
        assert decibels(power(part(made.speech, said.onset, said.offset)), event) == pytest.approx(
            said.snr, abs=0.5
        )


@settings(max_examples=12, deadline=None)
@given(seeds, st.booleans())
def test_sounds_are_heard_where_they_are_stated_and_nowhere_else(seed: int, speech: bool) -> None:
    made = make_mixture(0, sources(speech), CONFIG, seed)
    inside = np.zeros(len(made.sounds), bool)
    for sound in made.truth.sounds:
        event = part(made.sounds, sound.onset, sound.offset)
        # Loud from the first hundredth of a second to the last, and of the stated kind.
        loudest = max(power(frame) for frame in event[: len(event) // FRAME * FRAME].reshape(-1, FRAME))
        for edge in (event[:FRAME], event[-FRAME:]):
            assert decibels(power(edge), loudest) > -CONFIG.depth
        peak = np.argmax(np.abs(np.fft.rfft(event))) * SAMPLE_RATE / len(event)
        assert peak == pytest.approx(HERTZ[sound.label], rel=0.05)
        assert sound.also == ("Sound of all",)
        inside[round(sound.onset * SAMPLE_RATE) : round(sound.offset * SAMPLE_RATE)] = True
    assert not made.sounds[~inside].any()
    assert all(b.onset - a.offset >= CONFIG.apart[0] for a, b in pairs(made))
    assert all(a.label != b.label for a, b in pairs(made))


def pairs(made: Mixture) -> list[tuple]:  # type: ignore[type-arg]
    return list(zip(made.truth.sounds, made.truth.sounds[1:], strict=False))


@settings(max_examples=12, deadline=None)
@given(seeds)
def test_speech_covers_the_event_as_far_as_it_is_long_enough(seed: int) -> None:
    made = make_mixture(1, sources(), CONFIG, seed)
    for sound, said in zip(made.truth.sounds, made.truth.speech, strict=True):
        common = min(sound.offset, said.offset) - max(sound.onset, said.onset)
        shorter = min(sound.offset - sound.onset, said.offset - said.onset)
        assert common == pytest.approx(shorter, abs=1e-6)
        assert said.text in ("one", "two words")


def test_variants_differ_in_nothing_but_what_they_lack() -> None:
    made = make_mixture(2, sources(), CONFIG, 7)
    (sounds, heard), (speech, said), (both, all_of_it) = (made.variant(name) for name in VARIANTS)
    np.testing.assert_allclose(both - speech, made.sounds, atol=1e-6)
    np.testing.assert_allclose(both - sounds, made.speech, atol=1e-6)
    assert (heard.speech, said.sounds) == ((), ())
    assert [(s.onset, s.label) for s in heard.sounds] == [(s.onset, s.label) for s in all_of_it.sounds]
    assert {s.speech_snr for s in heard.sounds} == {None}
    assert said.speech == all_of_it.speech
    assert len({heard.file, said.file, all_of_it.file}) == 3


def test_a_mixture_depends_on_its_seed_and_number_only() -> None:
    one, same = (make_mixture(3, sources(), CONFIG, 7) for _ in range(2))
    assert one.truth == same.truth
    np.testing.assert_array_equal(one.variant("both")[0], same.variant("both")[0])
    assert make_mixture(4, sources(), CONFIG, 7).truth.sounds != one.truth.sounds
    assert make_mixture(3, sources(), CONFIG, 8).truth.sounds != one.truth.sounds


def test_nothing_clips_and_silence_below_is_survived() -> None:
    loud = MixtureConfig(seconds=12.0, background=-6.0)
    assert np.abs(make_mixture(0, sources(), loud, 0).variant("both")[0]).max() <= CEILING + 1e-6
    quiet = Sources.of([*[r for g in sources().sounds.values() for r in g], recording("n", silence(5))])
    made = make_mixture(0, quiet, CONFIG, 0)
    assert power(made.sounds) > 0
    assert np.isfinite(made.sounds).all()


def test_long_events_are_cut_and_long_utterances_left_out() -> None:
    config = MixtureConfig(seconds=20.0, longest=2.0)
    long = Sources.of(
        [
            recording("a", tone(500, 15.0), "Dog"),
            recording("b", noise(6.0), text="too long"),
            recording("c", noise(1.0), text="short"),
        ]
    )
    truth = make_mixture(0, long, config, 0).truth
    assert {round(sound.offset - sound.onset, 6) for sound in truth.sounds} == {2.0}
    assert {said.text for said in truth.speech} == {"short"}


def test_loud_parts_are_events() -> None:
    config = MixtureConfig(pause=0.5, shortest=0.2)
    first, again = tone(500, 0.4), tone(500, 0.6)
    audio = np.concatenate(
        [
            silence(1),
            first,
            silence(0.3),
            again,
            silence(1.0),
            tone(500, 1.0, 0.2),
            silence(1),
            tone(500, 0.1),
        ]
    )
    near = [(s / SAMPLE_RATE, e / SAMPLE_RATE) for s, e in loud_parts(audio, config)]
    assert near == [pytest.approx((1.0, 2.3), abs=0.03), pytest.approx((3.3, 4.3), abs=0.03)]
    assert loud_parts(silence(2), config) == []
    assert loud_parts(np.zeros(10, np.float32), config) == []
    faint = np.concatenate([tone(500, 1.0), silence(1), tone(500, 1.0, 0.01)])
    assert len(loud_parts(faint, config)) == 1


def test_without_usable_sounds_it_says_so() -> None:
    with pytest.raises(StreamerError, match="label that the model knows"):
        make_mixture(0, Sources.of([recording("n", noise(1))]), CONFIG, 0)
    with pytest.raises(StreamerError, match="found none in 100 draws"):
        make_mixture(0, Sources.of([recording("a", silence(3), "Dog")]), CONFIG, 0)
    with pytest.raises(StreamerError, match="--data"):
        sounds_only(0, Sources.of([]), 10, 0)
    with pytest.raises(StreamerError, match="--speech"):
        speech_only(0, sources(speech=False), 10, (0.3, 1.0), 0)


def test_streams_of_one_kind() -> None:
    samples, scene = speech_only(0, sources(), 20.0, (0.3, 1.0), 3)
    assert (len(samples), scene.sounds, scene.variant) == (20 * SAMPLE_RATE, (), "speech-only")
    for said in scene.speech:
        assert power(part(samples, said.onset, said.offset)) > 100 * power(samples[:1600])
    gaps = [b.onset - a.offset for a, b in zip(scene.speech, scene.speech[1:], strict=False)]
    assert all(0.3 <= gap <= 1.0 + 1e-6 for gap in gaps)
    samples, scene = sounds_only(0, sources(), 20.0, 3)
    assert (len(samples), scene.speech, scene.variant) == (20 * SAMPLE_RATE, (), "sounds-only")
    assert {sound.label for sound in scene.sounds} <= set(HERTZ)
    assert np.abs(samples).max() <= CEILING + 1e-6
    again, _ = sounds_only(0, sources(), 20.0, 3)
    np.testing.assert_array_equal(samples, again)
