"""Tables and JSON lines."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from streamer.cli.output import records, table, width

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


@dataclass(frozen=True)
class One:
    name: str
    value: float


def test_records_are_whole_in_json_and_as_shown_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    def show(as_json: bool) -> list[str]:
        records([One("a", 1.25), One("b", 2)], ("value",), lambda one: (f"{one.value:.1f}",), as_json)
        return capsys.readouterr().out.splitlines()

    assert show(False) == ["value", "1.2", "2.0"]
    assert [json.loads(line) for line in show(True)] == [
        {"name": "a", "value": 1.25},
        {"name": "b", "value": 2},
    ]


def test_width() -> None:
    assert width("abc") == 3
    assert width("你e\u0301") == 3
