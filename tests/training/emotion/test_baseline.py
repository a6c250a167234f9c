"""Mean MFCCs and a linear classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamer.audio.decode import decode_file
from streamer.training.emotion.baseline import COEFFICIENTS, classify, mfcc
from streamer.training.emotion.clips import read_clips
from tests.training.emotion.voices import write_ravdess


def test_it_tells_high_from_low_of_new_speakers(tmp_path: Path) -> None:
    clips = read_clips(write_ravdess(tmp_path))
    means = np.stack([mfcc(decode_file(clip.path)) for clip in clips])
    assert means.shape == (len(clips), COEFFICIENTS)
    truth = [int(clip.label == "sad") for clip in clips]
    new = np.array([clip.speaker == "04" for clip in clips])
    told = classify(means[~new], [t for t, n in zip(truth, new, strict=True) if not n], means[new], 2)
    assert told == [t for t, n in zip(truth, new, strict=True) if n]


def test_a_constant_feature_does_no_harm() -> None:
    x = np.array([[1, 0], [1, 1], [1, 0], [1, 1]], np.float32)
    assert classify(x, [0, 1, 0, 1], x, 3) == [0, 1, 0, 1]
