from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamer.errors import PermanentSourceError, StreamerError
from streamer.evaluation.asr import Reading, Samples, decode_audio, measure
from streamer.evaluation.sets import Utterance
from tests.cli.tiny import make_wav

pytest.importorskip("jiwer")
pytest.importorskip("whisper.normalizers")


def utterances(*texts: str) -> list[Utterance]:
    return [Utterance(Path(f"{i}.wav"), text) for i, text in enumerate(texts)]


def second(utterance: Utterance) -> Samples:
    return np.zeros(16_000, np.float32)


class Says:
    """A reader with its answers ready."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    def __call__(self, path: Path, samples: Samples) -> Reading:
        return Reading(self.texts[int(path.stem)], 2)


def test_texts_are_compared_in_normal_form() -> None:
    score = measure(Says("yes, SIR", "go on"), utterances("Yes sir!", "go"), second)
    assert (score.words.total, score.words.length, score.words.insertions) == (1, 3, 1)
    assert score.words.rate == pytest.approx(100 / 3)
    assert score.characters.length == len("yes sir") + len("go")
    assert (score.passes, score.seconds) == (4, 2.0)
    assert [one.hypothesis for one in score.heard] == ["yes sir", "go on"]
    assert 0 < score.real_time_factor < 1


def test_the_worst_come_first_and_only_what_is_wrong() -> None:
    said = utterances("a b c d", "a", "a b c d e f", "good")
    score = measure(Says("x y c d", "x y", "x y z d e f", "good"), said, second)
    assert [one.utterance.path.stem for one in score.worst(3)] == ["2", "1", "0"]
    assert len(score.worst(10)) == 3
    assert score.worst(0) == []


def test_an_empty_hypothesis_is_all_deletions() -> None:
    assert measure(Says(""), utterances("not a word"), second).words.deletions == 3


def test_what_cannot_be_decoded_is_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    make_wav(tmp_path / "0.wav", 0.1, 0.4)
    (tmp_path / "1.wav").write_bytes(b"no sound")
    said = [Utterance(tmp_path / f"{i}.wav", "a") for i in range(3)]
    score = measure(Says("a", "a", "a"), said)
    assert [one.seconds for one in score.heard] == [0.5]
    assert [path.name for path, _ in score.failed] == ["1.wav", "2.wav"]
    with pytest.raises(StreamerError, match=r"found none: .*1\.wav"):
        measure(Says("a", "a", "a"), said[1:])
    with pytest.raises(StreamerError, match=r"found none$"):
        measure(Says(), [])
    with pytest.raises(PermanentSourceError):
        decode_audio(said[2])
