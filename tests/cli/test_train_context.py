"""``streamer train context``."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamer.cli import main
from tests.cli.conftest import lines
from tests.training.context.recordings import save_stock, write_recordings

pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = """batch = 2
pieces = 2
every = 2
rate = 1e-3
held_out = 0.3
margins = [0.0]
[draws]
longest = 2.0
[limits]
"""
EASY = "states = 9.0\ntexts = 999.0\nsounds = 1.0\n"


def train(tmp_path: Path, *more: str, limits: str = EASY) -> Result:
    (tmp_path / "quick.toml").write_text(QUICK + limits)
    command = ["train", "context", "--model", str(tmp_path / "stock"), "--data", str(tmp_path / "data")]
    command += ["--out", str(tmp_path / "out"), "--config", str(tmp_path / "quick.toml"), *more]
    return CliRunner().invoke(main, command)


@pytest.fixture(autouse=True)
def place(tmp_path: Path) -> Path:
    write_recordings(tmp_path / "data", 3)
    save_stock(tmp_path / "stock")
    return tmp_path


def test_from_recordings_to_a_model_that_runs_in_short_contexts(tmp_path: Path) -> None:
    done = train(tmp_path, "--json", "--steps", "4")
    assert done.exit_code == 0, done.output
    rows = lines(done.stdout)
    assert [(row["margin"], row["earned"]) for row in rows] == [(0.0, True), ("full", False)]
    assert rows[0]["states_after"] < rows[0]["states_before"]
    assert rows[1]["states_before"] == 0
    assert "streamer run --model" in done.stderr
    assert (tmp_path / "out.work" / "training.json").exists()
    again = train(tmp_path, "--steps", "4")
    assert again.exit_code == 0, again.output
    told = again.stdout.splitlines()
    columns = "margin  context  states before  states after  texts before  texts after  sounds before"
    assert told[0].startswith(columns)
    assert told[0].endswith("earned")
    assert told[1].split()[-1] == "yes"
    recording = str(tmp_path / "data" / "1.wav")
    heard = CliRunner().invoke(main, ["transcribe", "--model", str(tmp_path / "out"), recording])
    assert heard.exit_code == 0, heard.output


def test_nothing_is_learnt_where_only_measuring_is_asked_for(tmp_path: Path) -> None:
    done = train(tmp_path, "--json", "--steps", "0", limits="states = 1e-3\n")
    assert done.exit_code == 0, done.output
    rows = lines(done.stdout)
    assert [row["earned"] for row in rows] == [False, False]
    assert rows[0]["states_after"] == pytest.approx(rows[0]["states_before"], rel=0.05)
    assert "no margin was earned: at a margin of 0 s it is still off by states" in done.stderr
    assert "Use it" not in done.stderr


def test_a_mistake_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text("marings = [0.0]\n")
    command = ["train", "context", "--model", "x", "--data", "y", "--out", "z", "--config"]
    done = CliRunner().invoke(main, [*command, str(tmp_path / "quick.toml")])
    assert done.exit_code == 2
    assert "Did you mean 'margins'?" in done.stderr
