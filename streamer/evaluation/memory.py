"""How much memory this process needs, and has needed at most since it was last asked to forget."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path

from streamer.errors import StreamerError

PROC = Path("/proc/self")


def forget_peak() -> None:
    """Begin anew: free what nobody holds and (where Linux allows it) set the peak to what is in use now."""
    gc.collect()
    with contextlib.suppress(OSError):
        (PROC / "clear_refs").write_text("5")


def peak_bytes() -> int:
    """Most memory in use at once (resident set size) since `forget_peak`, elsewhere than on Linux ever."""
    with contextlib.suppress(OSError):
        return _told("VmHWM")
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def resident_bytes() -> int:
    """Memory in use (resident set size). Raises StreamerError where the system is not Linux, which tells."""
    try:
        return _told("VmRSS")
    except OSError:
        raise StreamerError("expected Linux's /proc to measure memory with, found none") from None


def _told(key: str) -> int:
    for line in (PROC / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise OSError(f"{PROC / 'status'} tells no {key}")
