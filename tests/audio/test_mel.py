"""Log-mel features against openai-whisper's own."""

import numpy as np
import pytest

from streamer.audio.mel import filterbank, log_mel

whisper = pytest.importorskip("whisper")


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filterbank_is_whispers(n_mels: int) -> None:
    theirs = whisper.audio.mel_filters("cpu", n_mels).numpy()
    np.testing.assert_allclose(filterbank(n_mels), theirs, atol=1e-6)


@pytest.mark.parametrize("seconds", [1.0, 4.0, 7.3])
def test_features_are_whispers(seconds: float) -> None:
    rng = np.random.default_rng(0)
    n = int(seconds * 16000)
    audio = (0.1 * rng.standard_normal(n) + 0.3 * np.sin(np.arange(n) * 0.2)).astype(np.float32)
    theirs = whisper.log_mel_spectrogram(audio).numpy()
    ours = log_mel(audio)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_silence_is_finite() -> None:
    assert np.isfinite(log_mel(np.zeros(16000, np.float32))).all()
