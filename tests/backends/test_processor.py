"""What the processor tells of itself."""

from __future__ import annotations

import os
import platform

import pytest

from streamer.backends import processor


def test_the_flags_are_read_where_there_are_some() -> None:
    assert all(flag == flag.strip() and flag for flag in processor.flags())


@pytest.mark.parametrize(
    ("machine", "flags", "right"),
    [
        ("x86_64", {"avx2"}, False),
        ("x86_64", {"avx2", "avx_vnni"}, True),
        ("AMD64", set(), False),
        ("aarch64", set(), True),
    ],
)
def test_an_x86_needs_dot_products_to_multiply_signed(
    machine: str, flags: set[str], right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: flags)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert processor.multiplies_signed() is right


@pytest.mark.parametrize(("flags", "it_does"), [({"avx512f"}, False), ({"amx_bf16"}, True), (set(), False)])
def test_bfloat16_needs_hardware(flags: set[str], it_does: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "flags", lambda: flags)
    assert processor.multiplies_bfloat16() is it_does


@pytest.mark.parametrize(
    ("processors", "asked", "found"),
    [
        (8, (1, 0), (1, 7)),
        (8, (0, 0), (7, 1)),
        (8, (3, 0), (3, 2)),
        (8, (3, 4), (3, 4)),
        (2, (0, 0), (1, 1)),
        (2, (4, 0), (4, 1)),
        (None, (0, 0), (1, 1)),
    ],
)
def test_workers_share_all_processors_but_one(
    processors: int | None,
    asked: tuple[int, int],
    found: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    workers = processor.workers(asked[0])
    assert (workers, processor.threads(asked[1], workers)) == found
