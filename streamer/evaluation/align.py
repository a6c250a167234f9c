"""Which words of two texts are the same: Levenshtein's alignment, as pairs of equal words."""

from __future__ import annotations

import re
from collections.abc import Sequence

_KEPT = re.compile(r"[^\w']+")


def bare(word: str) -> str:
    """A word without case and punctuation; empty for what has no letter or digit."""
    return _KEPT.sub("", word.lower().replace("’", "'")).strip("'_")


def align(a: Sequence[str], b: Sequence[str], *, beginning: bool = False) -> list[tuple[int, int]]:
    """Pairs (i, j), growing, where a[i] == b[j] in an alignment of the fewest errors.

    beginning: `a` is held against the beginning of `b` only, the shortest that fits best: what `b` goes on
    to say costs nothing.
    """
    rows = [list(range(len(b) + 1))]
    for i, word in enumerate(a, start=1):
        above, row = rows[-1], [i]
        for j, other in enumerate(b, start=1):
            row.append(min(above[j - 1] + (word != other), above[j] + 1, row[j - 1] + 1))
        rows.append(row)
    i, j = len(a), len(b)
    if beginning:
        j = rows[i].index(min(rows[i]))
    pairs = []
    while i and j:
        if rows[i][j] == rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]):
            i, j = i - 1, j - 1
            if a[i] == b[j]:
                pairs.append((i, j))
        elif rows[i][j] == rows[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]
