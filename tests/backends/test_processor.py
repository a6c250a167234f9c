"""What the processor tells of itself."""

from __future__ import annotations

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
