from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamer.labels import Label
from streamer.nn.definition import EncoderInfo
from streamer.nn.heads import make_head
from streamer.training.corpus import Clip
from streamer.training.tags.config import TagsConfig
from streamer.training.tags.fit import Fitted
from streamer.training.tags.folds import ClipScores, Folds
from streamer.training.tags.outcome import Outcome, Prepared
from streamer.training.tags.readers import Dataset
from streamer.training.tags.report import confusion, worst, write_report
from streamer.training.tags.tables import Skipped
from tests.training.corpora import tone, write_wav

CURVE = [{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.4}]


def make_outcome(root: Path) -> Outcome:
    """Four recordings: one dog taken for rain, and three that are right."""
    labels = (Label("Dog"), Label("Rain <b>"))
    names = [("Dog",), ("Rain <b>",), ("Dog",), ("Rain <b>",)]
    clips = [
        Clip(str(i), str(write_wav(root / f"{i}.wav", tone(1.0, 300 + i))), "x", labels=n, fold=1 + i % 2)
        for i, n in enumerate(names)
    ]
    scores = np.array([[0.2, 0.7], [0.1, 0.9], [0.8, 0.3], [0.4, 0.5]], np.float32)
    targets = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.bool_)
    held = ClipScores(np.arange(4), scores, targets)
    folds = Folds(scores, targets, held, {1: [{**CURVE[0], "validation_loss": 0.6}], 2: CURVE}, [1, 2])
    skipped = (Skipped("bad.wav", "no <i>sound</i>"),)
    return Outcome(
        name="mine & yours",
        config=TagsConfig(),
        encoder=EncoderInfo(name="tiny", n_layer=2, n_state=8),
        prepared=Prepared(Dataset(tuple(clips), labels), labels, [], skipped, ("a note",)),
        folds=folds,
        test=None,
        thresholds=[0.5, 0.25],
        fitted=Fitted(make_head("last-mlp", 2, 8, 2), CURVE, 2),
        scores={"x_accuracy": 75.0},
        seconds={"features": 12.3},
    )


def test_the_page_says_it_all_by_itself(tmp_path: Path) -> None:
    text = write_report(tmp_path / "work", make_outcome(tmp_path)).read_text()
    assert "<title>The sound head mine &amp; yours</title>" in text
    assert "Rain &lt;b&gt;" in text
    assert "Rain <b>" not in text
    assert "no &lt;i&gt;sound&lt;/i&gt;" in text
    assert "a note" in text
    assert "1 of 4 recordings have a wrong label above a true one." in text
    assert text.count("<audio") == 1
    assert "<td>0.wav</td><td>Dog</td><td>0.20</td><td>Rain &lt;b&gt;</td><td>0.70</td>" in text
    assert text.count("<svg") == 2  # losses; nothing was measured of the mAP
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert (tmp_path / "work" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_it_gets_by_without_folds_sound_files_and_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = make_outcome(tmp_path)
    (tmp_path / "0.wav").unlink()
    assert "expected an audio file" in write_report(tmp_path / "a", outcome).read_text()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    bare = replace(outcome, folds=None, scores={})
    text = write_report(tmp_path / "b", bare).read_text()
    assert "Confusions" not in text
    assert not (tmp_path / "b" / "curves.png").exists()


def test_confusions_count_every_recording_of_one_label_once() -> None:
    rng = np.random.default_rng(0)
    targets = np.zeros((60, 6), np.bool_)
    targets[np.arange(60), rng.integers(0, 5, 60)] = True
    targets[:5] = True  # several labels at once
    clips = ClipScores(np.arange(60), rng.random((60, 6)).astype(np.float32), targets)
    top, counts = confusion(clips, 3)
    single = targets[5:]
    order = single.sum(0)
    assert sorted(order[top], reverse=True) == order[top].tolist()
    np.testing.assert_array_equal(counts.sum(1), order[top])
    perfect = ClipScores(np.arange(55), single.astype(np.float32), single)
    _, right = confusion(perfect, 3)
    np.testing.assert_array_equal(right[:, :3], np.diag(order[top]))


def test_the_worst_errors_come_first_and_only_errors() -> None:
    scores = np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.5], [0.3, 0.3]], np.float32)
    targets = np.array([[1, 0], [1, 0], [1, 0], [0, 0]], np.bool_)
    assert worst(ClipScores(np.arange(4), scores, targets)) == [(1, 0, 1), (2, 0, 1)]
