"""``streamer bench soak``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamer.cli import main
from streamer.evaluation import soak
from tests.cli.conftest import lines
from tests.cli.tiny import make_wav

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


def test_rows_and_a_whole(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "LOOK", 0.01)
    recording = make_wav(tmp_path / "speech.wav", 0.5, 1.5, 0.5, 1.0, 0.5)
    settings = ("guards.enabled=false", "live.partials=false", "engine.backend=torch", "model.threads=1")
    given = [text for one in settings for text in ("--set", one)]
    arguments = [
        "--hours",
        "0.02",
        "--speed",
        "1000",
        "--recording",
        str(recording),
        "--model",
        str(tiny),
        *given,
    ]
    result = CliRunner().invoke(main, ["bench", "soak", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    *rows, whole = lines(result.stdout)
    assert [row["from"] for row in rows] == ["0:00"]
    assert rows[0]["words"] > 0
    assert whole["rounds"] > 3
    assert whole["hours"] == pytest.approx(0.02, abs=0.02)
    assert 0 <= whole["words_within_a_frame"] <= 1
    result = CliRunner().invoke(main, ["bench", "soak", *arguments])
    assert result.exit_code == 0, result.output
    assert "rounds. Memory" in result.stderr
    assert "memory MB" in result.stdout


def test_settings_that_do_not_hold_are_told_at_once() -> None:
    result = CliRunner().invoke(main, ["bench", "soak", "--set", "live.partails=false"])
    assert result.exit_code
    assert "partials" in result.stderr
