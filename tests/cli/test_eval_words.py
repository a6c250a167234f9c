"""``streamer eval words``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamer.cli import main
from streamer.evaluation.sets import read_set


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["eval", "words", *map(str, arguments)])


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_lines_become_a_set(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("one\n\ntwo\nroom 3\nfour\n")
    result = call(tmp_path / "lines.txt", tmp_path / "set", "--voices", "kal16")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "set")
    assert "1 of 4 lines left out" in result.stderr
    assert [one.text for one in read_set(tmp_path / "set").utterances] == ["one", "two", "four"]
    result = call(tmp_path / "lines.txt", tmp_path / "half", "--voices", "kal16", "--limit", "2")
    assert [one.text for one in read_set(tmp_path / "half").utterances] == ["one"]  # and "room 3"
    assert call(tmp_path / "lines.txt", tmp_path / "set").exit_code == 1


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_nothing_to_say(tmp_path: Path) -> None:
    (tmp_path / "digits.txt").write_text("1\n2\n")
    result = call(tmp_path / "digits.txt", tmp_path / "set")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "2 of 2 lines left out" in result.stderr


def test_no_text(tmp_path: Path) -> None:
    result = call(tmp_path / "nothing.txt", tmp_path / "set")
    assert result.exit_code == 1
    assert "expected a text file with a sentence a line" in result.stderr
