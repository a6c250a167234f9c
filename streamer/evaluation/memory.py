"""How much memory this process has needed at most since it was last asked to forget."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path

PROC = Path("/proc/self")


def forget_peak() -> None:
    """Begin anew: free what nobody holds and (where Linux allows it) set the peak to what is in use now."""
    gc.collect()
    with contextlib.suppress(OSError):
        (PROC / "clear_refs").write_text("5")


def peak_bytes() -> int:
    """Most memory in use at once (resident set size) since `forget_peak`, elsewhere than on Linux ever."""
    with contextlib.suppress(OSError):
        for line in (PROC / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
