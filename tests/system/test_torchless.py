"""A daemon that computes in ONNX Runtime never imports torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import save_tiny, tiny_model

DAEMON = """
import asyncio, sys
from streamer.app import Daemon
from streamer.cli.options import load_settings
from streamer.cli.sources import choose_sources

given = ("engine.backend=onnx", "server.port=0", "model.threads=1")
config = load_settings(None, given, {"model.name": ("--model", sys.argv[1])}).config
daemon = Daemon(config, choose_sources(config, ("push",), False), on_ready=lambda _: daemon_is_ready())

def daemon_is_ready():
    print(config.model.name, "ready;", "torch" in sys.modules)
    daemon.stop()

sys.exit(asyncio.run(daemon.run()))
"""


@pytest.mark.parametrize("decoder", ["ctc", "attention"])
def test_until_it_is_ready(decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMER_CACHE", str(tmp_path / "cache"))
    model = save_tiny(tmp_path / "model", tiny_model(decoder=decoder))
    done = subprocess.run(
        [sys.executable, "-c", DAEMON, str(model)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{model} ready; False\n"
