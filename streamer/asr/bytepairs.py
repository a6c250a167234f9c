"""Byte-pair vocabularies on disk: tiktoken rank files, and Hugging Face's spelling of bytes as letters."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path

from streamer.errors import CheckpointError


def byte_alphabet() -> dict[str, int]:
    """GPT-2's letter for every byte: letter -> byte value.

    Printable Latin-1 characters stand for themselves; the other bytes are numbered from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    return {chr(value): value for value in printable} | {
        chr(0x100 + i): value for i, value in enumerate(others)
    }


def write_ranks(path: Path, ranks: Sequence[bytes]) -> None:
    """Write pieces in rank order: one line of base64 and rank a piece, the empty one as `=`."""
    lines = (f"{base64.b64encode(piece).decode() or '='} {rank}\n" for rank, piece in enumerate(ranks))
    path.write_text("".join(lines), encoding="ascii")


def read_ranks(path: Path) -> dict[bytes, int]:
    """Read a rank file. Raises CheckpointError for a missing or malformed one, naming the line."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"expected a tiktoken rank file at {path}, found: {error}") from error
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            piece, rank = line.split()
            # A lone "=" is the empty piece that Whisper's multilingual vocabulary ends with.
            ranks[b"" if piece == "=" else base64.b64decode(piece)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise CheckpointError(f"{path}:{number}: expected base64 and a rank, found {line!r}") from error
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise CheckpointError(f"{path}: expected the ranks 0 to {len(ranks) - 1} once each, found others")
    return ranks
