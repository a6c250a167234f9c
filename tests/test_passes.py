"""What a pass says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.passes import Kind, Pass


@pytest.mark.parametrize("kind", Kind)
def test_words_and_encoder_are_for_those_that_have_them(kind: Kind) -> None:
    speech = kind in (Kind.FINAL, Kind.PARTIAL)
    samples = np.zeros(0 if kind in (Kind.SILENT, Kind.END) else 320, np.float32)
    p = Pass("s", kind, 640, 640 + len(samples), samples, decided=0.0)
    assert p.has_text == speech
    assert p.needs_encoder == (kind not in (Kind.SILENT, Kind.END))


def test_kinds_are_ordered_by_how_much_they_matter() -> None:
    heard = [Kind.FINAL, Kind.PARTIAL, Kind.AMBIENT]
    assert sorted(Kind) == [*heard, Kind.SILENT, Kind.STEADY, Kind.END]
