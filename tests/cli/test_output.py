"""Tables and JSON lines."""

from __future__ import annotations

import json

import pytest

from streamer.cli.output import table, width

ROWS = [{"name": "你好", "value": 1, "hidden": True}, {"name": "a\x1b[2Jb", "value": None}]


def test_a_table_is_aligned_by_columns_of_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table(ROWS, ("name", "value"), as_json=False)
    assert capsys.readouterr().out.splitlines() == ["name   value", "你好   1", "a[2Jb"]


def test_json_lines_hold_everything_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    table(ROWS, ("name",), as_json=True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS


def test_an_empty_table_says_so_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    table([], ("name",), as_json=False, empty="nothing here")
    assert capsys.readouterr() == ("", "nothing here\n")


def test_width() -> None:
    assert width("abc") == 3
    assert width("你e\u0301") == 3
