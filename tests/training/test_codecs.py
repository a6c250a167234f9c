from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.training.augment import band
from streamer.training.codecs import CODECS, MU_LAW, Codec, available, coded, resampled
from tests.training.corpora import RATE, noise, tone

ALL = [(codec, rate) for codec in CODECS for rate in codec.bit_rates]


def babble(seconds: float) -> NDArray[np.float32]:
    """Noise of a telephone's band that comes and goes as syllables do; without pitch only one lag fits."""
    t = np.arange(int(seconds * RATE)) / RATE
    hiss = band(noise(seconds, loud=1.0), 300, 3000)
    swell = 0.05 + np.maximum(0, np.sin(2 * np.pi * 3.1 * t)) ** 2
    out: NDArray[np.float32] = (0.5 * hiss / np.abs(hiss).max() * swell).astype(np.float32)
    return out


def lag(late: NDArray[np.float32], early: NDArray[np.float32]) -> int:
    """Samples by which one is later than the other, at the peak of their cross-correlation."""
    size = 1 << (2 * len(early)).bit_length()
    together = np.fft.irfft(np.fft.rfft(late, size) * np.conj(np.fft.rfft(early, size)), size)
    peak = int(together.argmax())
    return peak if peak < size // 2 else peak - size


@pytest.mark.parametrize(("codec", "bit_rate"), ALL, ids=lambda x: getattr(x, "encoder", str(x)))
def test_sounds_stay_where_they_were(codec: Codec, bit_rate: int) -> None:
    if codec not in available():
        pytest.skip(f"the installed ffmpeg cannot encode {codec.encoder}")
    audio = babble(2.0)
    out = coded(audio, codec, bit_rate)
    assert len(out) == len(audio)
    assert out.dtype == np.float32
    assert abs(lag(out, audio)) <= RATE // 1000  # a millisecond; a frame of the encoder has ten
    loudness = [np.sqrt(np.convolve(x**2, np.ones(800) / 800, "same")) for x in (audio, out)]
    assert np.corrcoef(loudness)[0, 1] > 0.9
    assert not np.array_equal(out, audio)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.encoder)
@pytest.mark.parametrize("length", [1, 159, 4000, 4001, 8191, 8192])
def test_any_length_is_kept(codec: Codec, length: int) -> None:
    if codec not in available():
        pytest.skip(f"the installed ffmpeg cannot encode {codec.encoder}")
    out = coded(noise(1.0)[:length], codec, codec.bit_rates[0])
    assert out.shape == (length,)
    assert np.isfinite(out).all()


def test_coding_is_repeatable() -> None:
    audio = noise(0.5)
    for codec in available():
        one, again = (coded(audio, codec, codec.bit_rates[-1]) for _ in range(2))
        np.testing.assert_array_equal(one, again)


def test_g711_is_the_standards() -> None:
    """8 bits with steps that grow with the level: about 38 dB under any level (ITU-T G.711)."""
    for loud in (0.03, 0.3, 0.9):
        audio = tone(1.0, 997.3, loud)
        error = (coded(audio, MU_LAW) - audio)[1600:-1600]
        ratio = 10 * np.log10(np.mean(audio**2) / np.mean(error**2))
        assert 33 < ratio < 45


def test_narrow_codecs_take_the_upper_half() -> None:
    high, low = tone(0.5, 6000), tone(0.5, 1000)
    assert np.abs(coded(high, MU_LAW)[1000:-1000]).max() < 0.02
    assert np.abs(coded(low, MU_LAW)[1000:-1000]).max() > 0.25


def test_resampling_there_and_back_keeps_what_fits() -> None:
    audio = np.pad(tone(0.4, 1000), (0, 16384 - 6400))
    for rate in (8000, 48000):
        there = resampled(audio, RATE, rate)
        assert len(there) == len(audio) * rate // RATE
        np.testing.assert_allclose(resampled(there, rate, RATE)[200:6000], audio[200:6000], atol=5e-3)
    assert resampled(audio, RATE, RATE) is audio


def test_some_codecs_are_there() -> None:
    """G.711 needs no library: something is always left to draw from."""
    assert MU_LAW in available()
