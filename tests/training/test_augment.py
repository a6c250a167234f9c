from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamer.training.augment import SpoilConfig, band, change_speed, draw_speed, mask_mel, mix, spoil
from tests.training.corpora import RATE, noise, tone


@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
@pytest.mark.parametrize("length", [0.2, 1.0, 3.0])  # shorter than, as long as and longer than the speech
def test_mix_reaches_the_ratio(snr: float, length: float) -> None:
    speech, under = tone(1.0, 440), noise(length, 1)
    mixed = mix(speech, under, snr, np.random.default_rng(0))
    added = mixed - speech
    assert len(mixed) == len(speech)
    assert mixed.dtype == np.float32
    got = 10 * np.log10(np.mean(speech.astype(float) ** 2) / np.mean(added.astype(float) ** 2))
    assert got == pytest.approx(snr, abs=0.05)


def test_mixing_with_silence_changes_nothing() -> None:
    speech, silence, rng = tone(0.5, 440), np.zeros(RATE, np.float32), np.random.default_rng(0)
    np.testing.assert_array_equal(mix(speech, silence, 3, rng), speech)
    np.testing.assert_array_equal(mix(silence, speech, 3, rng), silence)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.12])
def test_speed_moves_length_and_pitch(factor: float) -> None:
    out = change_speed(tone(1.0, 400), factor)
    assert len(out) == pytest.approx(RATE / factor, abs=2)
    peak = np.abs(np.fft.rfft(out)).argmax() * RATE / len(out)
    assert peak == pytest.approx(400 * factor, abs=2)


def test_band_keeps_its_band_only() -> None:
    inside, outside = tone(1.0, 1000), tone(1.0, 6000)
    np.testing.assert_allclose(band(inside + outside, 300, 3400), inside, atol=1e-4)


def test_spoiling_is_a_function_of_the_generator() -> None:
    audio, noises = tone(1.0, 300), [noise(2.0)]
    outs = [spoil(audio, noises, np.random.default_rng(s)) for s in (*range(30), *range(30))]
    for one, again in zip(outs[:30], outs[30:], strict=True):
        np.testing.assert_array_equal(one, again)
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
        assert 0.05 < np.abs(one).max() < 0.96
    assert len({out.tobytes() for out in outs}) == 30


def test_a_drawn_speed_never_cuts_words_off() -> None:
    """Slowed down, a recording near the longest context would lose its end."""
    factors = [draw_speed(RATE, np.random.default_rng(s), 1.0, longest=int(1.02 * RATE)) for s in range(40)]
    assert min(factors) >= 1 / 1.02
    assert max(factors) > 1.05
    assert {draw_speed(RATE, np.random.default_rng(s), 0.0) for s in range(40)} == {1.0}


def test_spoiling_leaves_everything_at_its_time() -> None:
    """Timestamps are of the audio before."""
    audio = np.concatenate([np.zeros(RATE, np.float32), noise(0.2), np.zeros(RATE, np.float32)])
    for seed in range(40):
        out = spoil(audio, [], np.random.default_rng(seed))
        assert len(out) == len(audio)
        assert 0.98 * RATE < np.abs(out).argmax() < 1.25 * RATE


@pytest.mark.parametrize("way", ["room", "noise", "telephone", "codec"])
def test_a_share_decides_what_befalls_a_recording(way: str) -> None:
    """With all shares 0 only the gain changes; with one at 1 more than that."""
    audio, noises = noise(0.6), [tone(0.5, 500)]
    nothing = SpoilConfig(room=0, noise=0, telephone=0, codec=0)
    for seed in range(5):
        clean = spoil(audio, noises, np.random.default_rng(seed), shares=nothing)
        np.testing.assert_allclose(clean / np.abs(clean).max(), audio / np.abs(audio).max(), atol=1e-6)
        one = replace(nothing, **{way: 1.0})
        spoiled = spoil(audio, noises, np.random.default_rng(seed), shares=one)
        assert not np.allclose(spoiled / np.abs(spoiled).max(), clean / np.abs(clean).max(), atol=1e-3)


def test_silence_stays_silent() -> None:
    silence = np.zeros(RATE // 2, np.float32)
    for seed in range(30):
        assert not spoil(silence, [noise(1.0)], np.random.default_rng(seed)).any()


def test_masks_leave_most_of_a_mel() -> None:
    whole = np.random.default_rng(1).random((80, 300), dtype=np.float32)
    masked = whole.copy()
    mask_mel(masked, np.random.default_rng(0))
    changed = (masked != whole).mean()
    assert 0 < changed < 0.7
    np.testing.assert_allclose(masked[masked != whole], whole.mean(), atol=1e-6)
