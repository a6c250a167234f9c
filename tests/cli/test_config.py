"""``streamer config show``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamer.cli import main


def show(*arguments: str, env: dict[str, str] | None = None) -> dict[str, tuple[object, str]]:
    result = CliRunner().invoke(main, ["config", "show", "--json", *arguments], env=env)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return {row["key"]: (row["value"], row["origin"]) for row in rows}


def test_every_value_has_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text("[server]\nport = 1234\n[vad]\naggressiveness = 1\n[live]\nagree = 4\n")
    env = {"STREAMER_VAD__AGGRESSIVENESS": "3", "STREAMER_SERVER__TOKEN": "geheim"}
    shown = show("mine.toml", "--set", "live.agree=3", env=env)
    assert shown["server.port"] == (1234, "mine.toml")
    assert shown["vad.aggressiveness"] == (3, "environment STREAMER_VAD__AGGRESSIVENESS")
    assert shown["live.agree"] == (3, "flag --set")
    assert shown["segment.hangover_ms"] == (400, "default")
    assert "geheim" not in str(shown)


def test_the_table_has_a_line_a_setting() -> None:
    result = CliRunner().invoke(main, ["config", "show", "captions"])
    assert result.exit_code == 0
    assert any(line.startswith("server.port ") for line in result.stdout.splitlines())


def test_one_preset_not_two() -> None:
    assert CliRunner().invoke(main, ["config", "show", "captions", "--config", "sounds"]).exit_code == 2
