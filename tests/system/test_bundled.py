"""The model that ships, through the daemon's own path, on the sample that ships."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from streamer.app import FileRun
from streamer.captions import Transcript
from streamer.config import Config
from streamer.resources import find_sample, models_dir
from streamer.training.demo import SOUNDS, SPEECH
from streamer.training.sounds import MAKERS

jiwer = pytest.importorskip("jiwer", reason="jiwer measures word error rates (extra train)")

MODEL = models_dir() / "bundled"

pytestmark = pytest.mark.skipif(not (MODEL / "model.toml").exists(), reason="there is no bundled model")


@pytest.fixture(scope="module")
def heard() -> Transcript:
    with FileRun(Config()) as run:
        outcome = run.transcribe(str(find_sample()))
    assert outcome.error == ""
    return outcome.transcript


def test_it_is_small_and_says_where_it_comes_from() -> None:
    files = [path for path in MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    assert {"model.toml", "CARD.md", "labels.csv", "weights.safetensors"} <= {path.name for path in files}


def test_the_samples_words(heard: Transcript) -> None:
    said = " ".join(final.text for final in heard.spoken())
    wanted = " ".join(text for _, _, text in SPEECH)
    assert jiwer.wer(wanted, said) < 0.45


def test_the_samples_sounds(heard: Transcript) -> None:
    """Most of what was put in is found at about its time, and little else."""
    found = heard.heard()
    right = {
        label
        for start, seconds, label, _ in SOUNDS
        if any(sound.label == label and start - 1 <= sound.start <= start + seconds for sound in found)
    }
    assert len(right) >= 3
    wrong = [sound.label for sound in found if sound.label not in {label for _, _, label, _ in SOUNDS}]
    assert len(wrong) <= 3, wrong


def test_words_have_times_within_their_sentence(heard: Transcript) -> None:
    finals = heard.spoken()
    for final in finals:
        times = [time for word in final.words for time in (word.start, word.end)]
        assert final.start <= min(times)
        assert max(times) <= final.end
        assert [word.start for word in final.words] == sorted(word.start for word in final.words)
        assert " ".join(word.text for word in final.words) == final.text
    first = finals[0].words[0]
    assert re.match("g", first.text)
    assert first.start == pytest.approx(SPEECH[0][0] + 0.15, abs=0.3)


def test_noise_says_nothing(tmp_path: Path) -> None:
    import wave

    rng = np.random.default_rng(3)
    noise = np.concatenate([MAKERS[name](6.0, rng) for name in ("Rain", "Wind", "White noise", "Music")])
    path = tmp_path / "noise.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes((noise * 32767).astype("<i2").tobytes())
    with FileRun(Config()) as run:
        outcome = run.transcribe(str(path))
    words = [word for final in outcome.transcript.finals for word in final.text.split()]
    assert len(words) <= 1, words
