"""The tiny model, made once, and a way to run the command as users do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import streamer as package
from tests.cli.tiny import make_model

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "noise")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes run what is tested here, wherever they start."""
    monkeypatch.setenv("PYTHONPATH", str(Path(package.__file__).parent.parent))


@pytest.fixture
def streamer(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `streamer` in a process of its own, in an empty folder."""
    monkeypatch.setenv("STREAMER_MODEL__NAME", str(tiny))
    monkeypatch.setenv("STREAMER_SERVER__PORT", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "streamer.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)

    return run


def lines(text: str) -> list[dict[str, Any]]:
    """JSON lines; fails on anything else."""
    return [json.loads(line) for line in text.splitlines()]
