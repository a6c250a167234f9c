"""What the processor can do, as far as it tells."""

from __future__ import annotations

import os
import platform

X86 = {"x86_64", "amd64"}
DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8"}
BFLOAT16 = {"avx512_bf16", "amx_bf16"}


def flags() -> set[str]:
    """Its features by the names that Linux gives them; none where nobody tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            for line in info:
                if line.startswith("flags"):
                    return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


def multiplies_signed() -> bool:
    """Whether products of unsigned and signed bytes add up without loss.

    Those of an x86 without dot products do not: it cuts sums of two off at 16 bits.
    """
    return platform.machine().lower() not in X86 or bool(flags() & DOT_PRODUCTS)


def multiplies_bfloat16() -> bool:
    """Whether it multiplies bfloat16 in hardware."""
    return bool(flags() & BFLOAT16)


def workers(asked: int) -> int:
    """Passes that run at once (`model.workers`): as asked; for 0 one a processor, but one for capture."""
    return asked or max(1, (os.cpu_count() or 2) - 1)


def threads(asked: int, count: int) -> int:
    """Of each of `count` workers (`model.threads`); for 0 its share of all processors but one."""
    return asked or max(1, workers(0) // count)
