"""Several encoders on the same folds; the whole of it is in tests/cli/test_eval_probe.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import StreamerError
from streamer.training.probe.clips import Labelled, read_labelled
from streamer.training.probe.fit import ProbeConfig
from streamer.training.probe.recipe import BASELINE, compare
from tests.tiny_speech import save_speech
from tests.training.emotion.voices import write_ravdess

pytestmark = pytest.mark.filterwarnings("ignore")


def test_two_encoders_of_one_name_keep_theirs_apart(tmp_path: Path) -> None:
    data = read_labelled([write_ravdess(tmp_path / "data", actors=3, takes=1)], 3, 0)
    names = [str(tmp_path / "a" / "w2v2"), str(tmp_path / "b" / "w2v2")]
    save_speech(Path(names[0]), kind="Model")
    save_speech(Path(names[1]), "wavlm", kind="Model")
    rows = compare(data, names, ProbeConfig(), tmp_path / "cache", progress=False)
    assert [row.name for row in rows] == [*names, BASELINE]
    assert rows[-1].best is None
    assert rows[0].summed.confusion.sum() == len(data.clips)
    assert set(rows[0].summed.by_gender) == {"female", "male"}


def test_a_fold_that_leaves_one_label_only(tmp_path: Path) -> None:
    data = read_labelled([write_ravdess(tmp_path / "data", actors=3, takes=1)], 3, 0)
    angry = tuple(clip for clip in data.clips if clip.label == "angry")
    sad = tuple(clip for clip in data.clips if clip.label == "sad")
    lopsided = Labelled(data.labels, (sad[:1], sad[1:], angry), "so")
    with pytest.raises(StreamerError, match="fold 1 leaves clips of fewer than two labels"):
        compare(lopsided, [], ProbeConfig(), tmp_path / "cache", progress=False)
