from __future__ import annotations

import sys
from pathlib import Path

import pytest

from streamer.errors import MissingExtraError, StreamerError
from streamer.evaluation.live import LiveScore
from streamer.evaluation.picture import draw
from streamer.evaluation.texts import Errors
from streamer.evaluation.timeline import Flicker, Lag

pytest.importorskip("matplotlib")

SCORES = {
    "off": LiveScore(
        words=Errors(length=3), lags=[Lag(0.1, 2.0), Lag(0.4, 1.0)], flicker=Flicker(2, 0, 3), timed=3
    ),
    "silent": LiveScore(),
}


def test_a_picture(tmp_path: Path) -> None:
    draw(SCORES, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    draw(SCORES, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert "<!-- off: stable -->" in drawn
    assert "<!-- silent: shown -->" in drawn
    assert "matplotlib.pyplot" not in sys.modules  # which would choose a display


def test_what_cannot_be_written_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "no" / "a.png", tmp_path / "a.xyz"):
        with pytest.raises(StreamerError, match="cannot write"):
            draw(SCORES, path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"streamer\[eval\]"):
        draw(SCORES, tmp_path / "b.png")
