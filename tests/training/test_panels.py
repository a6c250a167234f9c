"""Curves as a picture."""

from __future__ import annotations

from pathlib import Path

from streamer.training.panels import Panel, draw, series


def test_a_picture_of_several_curves(tmp_path: Path) -> None:
    rows = [{"step": 1.0, "wer": 90.0}, {"step": 2.0, "wer": 50.0, "cer": 10.0}]
    assert series(rows, "wer") == [(1.0, 90.0), (2.0, 50.0)]
    assert series(rows, "cer") == [(2.0, 10.0)]
    panels = [
        Panel("rates", {"wer": series(rows, "wer"), "none": []}),
        Panel("one", {"": [(1, 2)]}, chance=0.5),
    ]
    assert draw(panels, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
