from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamer.app import FileRun
from streamer.audio.decode import decode_file
from streamer.cli.eval_audio import LiveReader, Spoiler, write_wav
from streamer.config import Config, ModelConfig
from streamer.errors import PermanentSourceError, StreamerError
from streamer.evaluation.asr import decode_audio
from streamer.evaluation.sets import Utterance
from tests.cli.tiny import make_wav, speech_like

RATE = 16_000


def power(samples: np.ndarray, low: float, high: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return float(spectrum[(hz >= low) & (hz < high)].sum())


@pytest.fixture
def utterance(tmp_path: Path) -> Utterance:
    hiss = 0.05 * np.random.default_rng(1).standard_normal(2 * RATE)
    return Utterance(write_wav(tmp_path / "said.wav", (speech_like(2.0) + hiss).astype(np.float32)), "x")


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    for i in range(3):
        noise = 0.1 * np.random.default_rng(i).standard_normal(3 * RATE)
        (tmp_path / "noises" / "in").mkdir(parents=True, exist_ok=True)
        write_wav(tmp_path / "noises" / "in" / f"{i}.wav", noise.astype(np.float32))
    (tmp_path / "noises" / "readme.txt").write_text("not a recording")
    return tmp_path / "noises"


def test_a_written_file_is_what_was_written(tmp_path: Path) -> None:
    samples = np.array([0.0, 0.5, -0.5, 2.0, -2.0] * 100, np.float32)
    back = decode_file(write_wav(tmp_path / "a.wav", samples))
    np.testing.assert_allclose(back, np.clip(samples, -1, 1), atol=2 / 32768)


def test_the_telephone_keeps_its_band_and_time(utterance: Utterance) -> None:
    clean, phoned = decode_audio(utterance), Spoiler(telephone=True)(utterance)
    assert len(phoned) == len(clean)
    assert power(phoned, 4000, 8001) < 1e-3 * power(clean, 4000, 8001)
    assert power(phoned, 300, 3400) == pytest.approx(power(clean, 300, 3400), rel=0.05)
    assert np.corrcoef(clean, phoned)[0, 1] > 0.5  # nothing has moved
    np.testing.assert_array_equal(phoned, Spoiler(telephone=True)(utterance))


def test_what_is_too_loud_is_not_clipped_by_the_telephone(utterance: Utterance, noises: Path) -> None:
    loud = Spoiler(telephone=True, noise=noises, snr_db=-40)(utterance)
    assert np.abs(loud).max() <= 1.1
    assert np.abs(loud).max() / np.abs(loud).mean() > 3  # as noise has it, and clipped noise has not


@pytest.mark.parametrize("snr", [-5.0, 10.0])
def test_noise_reaches_its_ratio_and_is_the_same_for_everybody(
    utterance: Utterance, noises: Path, tmp_path: Path, snr: float
) -> None:
    clean, noisy = decode_audio(utterance), Spoiler(noise=noises, snr_db=snr)(utterance)
    got = 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))
    assert got == pytest.approx(snr, abs=0.05)
    np.testing.assert_array_equal(noisy, Spoiler(noise=noises, snr_db=snr)(utterance))
    other = Utterance(write_wav(tmp_path / "other.wav", clean), "x")
    assert not np.array_equal(noisy, Spoiler(noise=noises, snr_db=snr)(other))


def test_noise_that_is_not_there(tmp_path: Path, utterance: Utterance) -> None:
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(StreamerError, match=r"--noise: expected a folder of recordings .* found none"):
            Spoiler(noise=folder)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(StreamerError, match="--noise: "):
        Spoiler(noise=tmp_path / "broken")


@pytest.fixture
def config(tiny: Path) -> Config:
    return Config(model=ModelConfig(name=str(tiny), threads=1, precision="fp32"))


def test_live_is_what_the_daemon_says_of_a_file(config: Config, tmp_path: Path) -> None:
    path = make_wav(tmp_path / "two.wav", 0.6, 1.2, 1.2, 1.0, 0.8)
    with FileRun(config) as run:
        finals = run.transcribe(str(path)).transcript.finals
    assert len(finals) == 2
    with LiveReader(config) as read:
        reading = read(path, decode_file(path))
        assert reading.text.split() == " ".join(final.text for final in finals).split()
        assert reading.passes > len(finals)  # partials and the sounds between
        with pytest.raises(PermanentSourceError, match="no such file"):
            read(tmp_path / "nothing.wav", decode_file(path))
    with LiveReader(config, spoilt=True) as read:
        assert read(tmp_path / "nothing.wav", decode_file(path)) == reading  # the samples count
        silence = read(tmp_path / "nothing.wav", np.zeros(RATE, np.float32))
        assert (silence.text, silence.passes) == ("", 0)
