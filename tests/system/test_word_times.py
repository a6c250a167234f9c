"""When the model that ships takes words to be said, against a synthesiser that knows."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median

import pytest

from streamer.asr.decode import DecodeOptions
from streamer.audio.decode import decode_file
from streamer.config import ModelConfig
from streamer.engine import load_engine
from streamer.evaluation.align import align, bare
from streamer.evaluation.offline import OfflineReader
from streamer.evaluation.sets import read_set
from streamer.evaluation.spoken import make_set
from streamer.resources import models_dir
from streamer.training.demo import SPEECH

pytestmark = [
    pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed"),
    pytest.mark.skipif(
        not (models_dir() / "bundled" / "model.toml").exists(), reason="there is no bundled model"
    ),
]

MOST = 0.1
"""Seconds that half of the words may be off."""


@pytest.mark.parametrize("decoder", ["ctc", "attention"])
def test_half_of_the_words_are_within_a_tenth_of_a_second(decoder: str, tmp_path: Path) -> None:
    folder = tmp_path / "spoken"
    make_set([text for _, _, text in SPEECH], folder, ("slt", "rms"))
    about = ModelConfig.model_validate({"decoder": decoder, "precision": "fp32", "threads": 1})
    reader = OfflineReader(load_engine(about), DecodeOptions())
    starts, ends = [], []
    for one in read_set(folder).utterances:
        heard = reader.words(decode_file(one.path))
        for i, j in align([bare(word.text) for word in one.words], [bare(word.text) for word in heard]):
            starts.append(abs(heard[j].start - one.words[i].start))
            ends.append(abs(heard[j].end - one.words[i].end))
    assert len(starts) > 25
    assert median(starts) <= MOST
    assert median(ends) <= MOST
