from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from streamer.errors import StreamerError
from streamer.evaluation import memory

MEGABYTES = 64


def test_the_peak_is_remembered_after_it_is_over() -> None:
    memory.forget_peak()
    before = memory.peak_bytes()
    held = np.ones(MEGABYTES << 17)
    held[-1] = 2
    del held
    assert memory.peak_bytes() >= before + (MEGABYTES - 8 << 20)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets")
def test_forgetting() -> None:
    memory.forget_peak()
    before = memory.peak_bytes()
    held = np.ones(MEGABYTES << 17)
    held[-1] = 2
    del held
    memory.forget_peak()
    assert memory.peak_bytes() <= before + (MEGABYTES // 2 << 20)


def test_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path / "nothing")
    memory.forget_peak()
    assert memory.peak_bytes() > 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_what_is_in_use_now() -> None:
    memory.forget_peak()
    before = memory.resident_bytes()
    held = np.ones(MEGABYTES << 17)
    assert memory.resident_bytes() >= before + (MEGABYTES - 8 << 20)
    held[-1] = 2
    del held
    assert memory.resident_bytes() <= memory.peak_bytes()


def test_what_is_in_use_where_nobody_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path / "nothing")
    with pytest.raises(StreamerError, match="found none"):
        memory.resident_bytes()
