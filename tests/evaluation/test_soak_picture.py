"""Hours as a picture."""

from __future__ import annotations

from array import array
from collections import Counter
from pathlib import Path

import pytest

from streamer.errors import StreamerError
from streamer.evaluation.soak import Soak, Stretch
from streamer.evaluation.soak_picture import draw
from tests.evaluation.test_soak import STATS

pytest.importorskip("matplotlib")

FOUND = Soak(
    [
        Stretch(
            600.0 * i, 600.0, apart=Counter({20: 1}), megabytes=array("f", [100.0]), lags=array("f", [2.0])
        )
        for i in range(3)
    ],
    3,
    1.0,
    STATS,
)


def test_memory_lag_and_clock_are_drawn(tmp_path: Path) -> None:
    draw(FOUND, tmp_path / "soak.svg")
    drawn = (tmp_path / "soak.svg").read_text()
    for text in ("resident memory", "seconds of audio behind", "furthest word"):
        assert f"<!-- {text} -->" in drawn


def test_where_it_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match="cannot write"):
        draw(FOUND, tmp_path / "missing" / "soak.png")
