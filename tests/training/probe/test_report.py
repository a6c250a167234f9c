"""Rows and pictures of made-up figures; real ones are in tests/cli/test_eval_probe.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import StreamerError
from streamer.training.emotion.measures import measure
from streamer.training.probe.clips import Labelled
from streamer.training.probe.fit import ProbeConfig
from streamer.training.probe.recipe import Row
from streamer.training.probe.report import as_row, draw, write_json

GOOD, POOR = measure([0, 0, 1], [0, 0, 1], 2, ["male", "female", ""]), measure([0, 0, 1], [0, 1, 0], 2)
ROW = Row("x", GOOD, 8, (POOR, GOOD, GOOD), (0.25, 0.5, 0.25), first=0)


def test_a_row_names_the_first_of_the_best_layers() -> None:
    assert as_row(ROW) == {
        "encoder": "x",
        "size": "3 × 8",
        "best_layer": 1,
        "uar_there": 1.0,
        "accuracy": 1.0,
        "uar": 1.0,
        "f1": 1.0,
        "female": 1.0,
        "male": 1.0,
        "layer_weights": "0.25 0.50 0.25",
    }
    assert as_row(Row("plain", POOR, 20))["best_layer"] is None


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(StreamerError, match="cannot write"):
        draw([ROW], tmp_path / "no" / "x.png")
    with pytest.raises(StreamerError, match="cannot write"):
        write_json([ROW], Labelled(("a", "b"), (), "so"), ProbeConfig(), tmp_path / "no" / "x.json")
