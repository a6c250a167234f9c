"""Costs as a picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import StreamerError
from streamer.evaluation.cost_picture import draw
from streamer.evaluation.engine_cost import FINAL, OURS, Cost

pytest.importorskip("matplotlib")


def cost(who: str, threads: int, ms: float) -> Cost:
    return Cost(who, FINAL, "fp32", 5.0, 30.0, threads, 20, False, ms, ms, ms, ms)


def test_every_row_is_drawn(tmp_path: Path) -> None:
    rows = [cost(who, threads, 3.0) for threads in (1, 2) for who in (OURS, "another")]
    draw(rows, tmp_path / "costs.svg")
    drawn = (tmp_path / "costs.svg").read_text()
    assert drawn.count("another fp32, 30 s: end of speech to final") == 2
    assert "2 threads" in drawn
    assert "1 threads" not in drawn


def test_where_it_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match="cannot write"):
        draw([cost(OURS, 1, 1.0)], tmp_path / "missing" / "costs.png")
