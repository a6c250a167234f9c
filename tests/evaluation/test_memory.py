from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

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
