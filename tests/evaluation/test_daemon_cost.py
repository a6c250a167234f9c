"""The daemon as a process of its own, measured from outside."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import pytest

from streamer.errors import StreamerError
from streamer.evaluation import daemon_cost
from streamer.evaluation.daemon_cost import DaemonProcess, Load, loads, silence

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


def test_a_daemon_that_cannot_start_is_told_with_its_reason() -> None:
    with (
        pytest.raises(StreamerError, match=r"(?s)ended before it was ready.*no model 'none-such'"),
        DaemonProcess(["--model", "none-such", "--source", "push"]),
    ):
        pass


def test_the_first_count_that_falls_behind_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(daemon: DaemonProcess, count: int, seconds: float) -> Load:
        return Load(count, 1.0, 1.0, 1.0, 1.0, seconds * count, 1.0, 0, 0)

    class Nothing:
        def __init__(self, arguments: list[str]) -> None:
            assert arguments[-2] == "--source"

        def __enter__(self) -> Nothing:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(daemon_cost, "DaemonProcess", Nothing)
    monkeypatch.setattr(daemon_cost, "_watch", watch)
    found = list(loads([], Path("sample"), [1, 2, 4, 8], 0.4))
    assert [one.keeps_up for one in found] == [True, True, False]


def test_a_silent_room_is_as_long_as_asked_for(tmp_path: Path) -> None:
    with wave.open(str(silence(tmp_path / "room.wav", 0.5))) as room:
        assert room.getnframes() == 8000
        assert any(room.readframes(8000))
