"""Pooled features on disk, so that the encoder hears every window once.

For each number of tokens T two files that only grow: `T.f16`, rows (L, T, D) of float16 that are read
through a memory map, and `T.rows`, for each row 16 bytes of the window's digest and one for
what was `Noticed` of it. A row counts once both files hold all of it; what a kill left behind
that is not is cut off. One folder for each encoder, precision and context: another gives another folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntFlag
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import StreamerError


class Noticed(IntFlag):
    """What a window's samples showed when they were encoded."""

    HEARD = 1
    """The recording that it is of can be heard in it."""
    SILENT = 2
    """Nothing at all can be heard in it."""


DIGEST = 16
_ROW = DIGEST + 1


class FeatureCache:
    """The features of one encoder: `root` / `identity`. `shape` is (layers, width) of a token."""

    def __init__(
        self, root: Path, identity: str, shape: tuple[int, int], about: Mapping[str, Any] | None = None
    ) -> None:
        self.folder, self.shape, self.identity = root / identity, shape, identity.encode()
        self.folder.mkdir(parents=True, exist_ok=True)
        if about is not None:
            (self.folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        self._rows: dict[int, dict[bytes, int]] = {}
        self._noticed: dict[int, list[int]] = {}
        for path in self.folder.glob("*.rows"):
            if path.stem.isdigit():
                self._read(int(path.stem))

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def _read(self, tokens: int) -> None:
        rows, values = self._paths(tokens)
        size = values.stat().st_size if values.exists() else 0
        count = min(rows.stat().st_size // _ROW, size // self._bytes(tokens))
        content = rows.read_bytes()[: count * _ROW]
        records = [content[i : i + _ROW] for i in range(0, len(content), _ROW)]
        self._rows[tokens] = {record[:DIGEST]: i for i, record in enumerate(records)}
        self._noticed[tokens] = [record[DIGEST] for record in records]

    def _paths(self, tokens: int) -> tuple[Path, Path]:
        return self.folder / f"{tokens}.rows", self.folder / f"{tokens}.f16"

    def _bytes(self, tokens: int) -> int:
        layers, width = self.shape
        return 2 * layers * tokens * width

    @property
    def lengths(self) -> list[int]:
        """Of how many tokens there are rows."""
        return sorted(self._rows)

    def has(self, tokens: int, digest: bytes) -> bool:
        """Whether the window's features are there."""
        return digest in self._rows.get(tokens, {})

    @contextmanager
    def filling(self) -> Iterator[None]:
        """While rows are added: raises StreamerError where another process is at it."""
        import fcntl

        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StreamerError(
                    f"another run is filling the features in {self.folder}: wait for it, or give this one "
                    "a --cache of its own"
                ) from error
            # Rows of a run that ended since this one began.
            for path in self.folder.glob("*.rows"):
                if path.stem.isdigit():
                    self._read(int(path.stem))
            yield

    def append(
        self, tokens: int, digests: Sequence[bytes], noticed: Sequence[int], values: NDArray[np.float16]
    ) -> None:
        """Add rows, values (B, L, T, D); within `filling`."""
        rows, data = self._paths(tokens)
        known = self._rows.setdefault(tokens, {})
        flags = self._noticed.setdefault(tokens, [])
        count = len(flags)
        with data.open("ab") as file:
            file.truncate(count * self._bytes(tokens))
            file.write(np.ascontiguousarray(values, np.float16).tobytes())
        with rows.open("ab") as file:
            file.truncate(count * _ROW)
            file.write(b"".join(d + bytes([flag]) for d, flag in zip(digests, noticed, strict=True)))
        for i, (digest, flag) in enumerate(zip(digests, noticed, strict=True)):
            known[digest] = count + i
            flags.append(flag)

    def find(self, tokens: int, digests: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """The windows' rows, and what was `Noticed` of each. KeyError for one that has none."""
        rows = np.array([self._rows[tokens][digest] for digest in digests], np.int64)
        return rows, np.array([self._noticed[tokens][row] for row in rows], np.uint8)

    def values(self, tokens: int) -> NDArray[np.float16]:
        """All rows of a length, (N, L, T, D), mapped from disk."""
        layers, width = self.shape
        count = len(self._noticed[tokens])
        return np.memmap(self._paths(tokens)[1], np.float16, "r", shape=(count, layers, tokens, width))
