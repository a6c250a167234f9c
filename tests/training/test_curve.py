from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from streamer.training.curve import draw, running_mean


@pytest.mark.parametrize("width", [1, 3, 50])
def test_a_running_mean_is_of_the_values_up_to_each(width: int) -> None:
    values = np.random.default_rng(0).random(20)
    expected = [values[max(0, i + 1 - width) : i + 1].mean() for i in range(20)]
    np.testing.assert_allclose(running_mean(values, width), expected)


def write_log(path: Path, steps: int) -> Path:
    rows = [{"step": i + 1, "ctc": 5 / (i + 1), "attention": 7 / (i + 1), "audio": 9.0} for i in range(steps)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_curve_is_drawn(tmp_path: Path) -> None:
    matplotlib_image = pytest.importorskip("matplotlib.image", reason="needs matplotlib")
    assert draw(write_log(tmp_path / "log.jsonl", 60), tmp_path / "curve.png")
    pixels = matplotlib_image.imread(tmp_path / "curve.png")
    assert pixels.shape[0] > 300
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 10  # more than a blank sheet


def test_nothing_to_draw_or_nothing_to_draw_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "curve.png"
    assert not draw(write_log(tmp_path / "empty.jsonl", 0), picture)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not draw(write_log(tmp_path / "log.jsonl", 5), picture)
    assert not picture.exists()
