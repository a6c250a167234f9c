"""``streamer devices``."""

from __future__ import annotations

import json

from click.testing import CliRunner

from streamer.cli import main


def test_devices_are_json_lines_or_a_clear_error() -> None:
    result = CliRunner().invoke(main, ["devices", "--json"])
    if result.exit_code == 1:
        assert "libportaudio2" in result.stderr
    else:
        for line in result.stdout.splitlines():
            assert {"index", "name", "channels", "rate", "default", "api"} == set(json.loads(line))
