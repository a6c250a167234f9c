"""The command line as a whole: quick to import, clear when something is wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

import streamer
from streamer.cli import main


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


HEAVY = {"torch", "numpy", "onnxruntime", "transformers", "av", "pydantic", "rich", "asyncio", "uvicorn"}


@pytest.mark.parametrize(
    ("asked", "said"), [("--version", f"streamer, version {streamer.__version__}"), ("--help", "Usage: ")]
)
def test_help_and_version_load_nothing_that_takes_long(asked: str, said: str) -> None:
    code = f"import sys; from streamer.cli import main; main([{asked!r}], standalone_mode=False)"
    done = python("-c", f"{code}; print(*sys.modules, file=sys.stderr)")
    assert done.stdout.startswith(said)
    loaded = set(done.stderr.split())
    assert "streamer.cli" in loaded
    assert not HEAVY & loaded


def test_help_lists_the_commands_in_the_order_of_their_use() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    lines = result.output.split("Commands:")[1].strip().splitlines()
    names = [line.split()[0] for line in lines]
    assert names == [
        *("run", "demo", "transcribe", "features", "listen", "devices", "check", "models"),
        *("train", "eval", "bench", "config"),
    ]
    assert not [line for line in lines if line.endswith("...")]


def test_every_command_explains_itself() -> None:
    for name, command in main.commands.items():
        result = CliRunner().invoke(main, [name, "--help"])
        assert result.exit_code == 0
        assert command.help


def test_errors_are_one_message_without_a_traceback() -> None:
    done = python("-m", "streamer.cli", "run", "--source", "/no/such/file.wav")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert "/no/such/file.wav" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_asked_for_wrongly_gives_status_2() -> None:
    for arguments in (
        ["run", "--config", "nosuch"],
        ["run", "--set", "vad.agressiveness=3"],
        ["run", "--set", "novalue"],
        ["run", "--port", "70000"],
        ["transcribe", "--format", "docx", "x.wav"],
        ["transcribe"],
        ["nosuch"],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2, (arguments, result.output)
    assert "Did you mean" in CliRunner().invoke(main, ["run", "--set", "vad.agressiveness=3"]).stderr
