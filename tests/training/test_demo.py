from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from streamer.audio.decode import decode_file
from streamer.training.demo import SECONDS, SOUNDS, SPEECH, make, speak, write_opus
from streamer.training.sounds import MAKERS
from tests.training.corpora import RATE, tone


def test_the_script_fits_the_recording() -> None:
    assert {name for _, _, name, _ in SOUNDS} <= set(MAKERS)
    assert all(start + seconds <= SECONDS for start, seconds, _, _ in SOUNDS)
    assert all(start + 5 < SECONDS for start, _, _ in SPEECH)


def test_opus_keeps_length_and_pitch(tmp_path: Path) -> None:
    write_opus(tone(2.0, 440), tmp_path / "out.opus")
    audio = decode_file(tmp_path / "out.opus")
    assert len(audio) == pytest.approx(2 * RATE, abs=0.05 * RATE)
    hz = np.abs(np.fft.rfft(audio)).argmax() * RATE / len(audio)
    assert hz == pytest.approx(440, abs=2)
    assert (tmp_path / "out.opus").stat().st_size < 20_000


@pytest.mark.skipif(not shutil.which("flite"), reason="needs the program flite")
def test_the_recording_has_its_words_and_sounds() -> None:
    audio = make()
    assert audio.dtype == np.float32
    assert len(audio) == int(SECONDS * RATE)
    assert np.abs(audio).max() <= 1
    loud = np.sqrt((audio[: len(audio) // 1600 * 1600].reshape(-1, 1600) ** 2).mean(axis=1))

    def level(start: float, end: float) -> float:
        return float(loud[int(start * 10) : int(end * 10)].max())

    assert level(0, 1.8) < 0.002  # quiet before anything happens
    for start, voice, text in SPEECH:
        assert level(start, start + len(speak(voice, text)) / RATE) > 0.05
    for start, seconds, _, _ in SOUNDS:
        assert level(start, start + seconds) > 0.02
