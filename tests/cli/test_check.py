"""``streamer check``."""

from __future__ import annotations

import socket
from pathlib import Path

from streamer.cli.check import findings
from streamer.config import Config, ModelConfig, ServerConfig
from tests.cli.conftest import Run, lines
from tests.cli.tiny import make_wav


def test_everything_is_there(streamer: Run, tmp_path: Path) -> None:
    make_wav(tmp_path / "a.wav", 0.5)
    done = streamer("check", "--source", "a.wav", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(line["what"], line["ok"]) for line in lines(done.stdout)] == [
        ("port", True),
        ("source a.wav", True),
        ("model", True),
    ]


def test_nothing_is_there_and_each_line_says_what_to_do(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"nothing of the kind")
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as mute:
        config = Config(model=ModelConfig(name="nosuch"), server=ServerConfig(port=taken.getsockname()[1]))
        texts = (str(bad), f"cam=rtsp://user:geheim@127.0.0.1:{mute.getsockname()[1]}/1")
        found = {finding.what: finding for finding in findings(config, texts, timeout=0.5)}
    assert [finding.ok for finding in found.values()] == [False] * 4
    assert str(config.server.port) in found["port"].found
    assert "bad.wav" in found["source bad.wav"].found
    assert "no audio within 0.5 s" in found["source cam"].found
    assert "nosuch" in found["model"].found
    assert "geheim" not in str(found)
