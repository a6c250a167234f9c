from __future__ import annotations

import base64
import io
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from streamer.errors import MissingExtraError
from streamer.training.tags.page import Html, curve, listed, page, paragraph, sound, table
from tests.training.corpora import tone

NASTY = "<script>alert('x')</script> & \"more\""


class Texts(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_are_text_wherever_they_stand() -> None:
    lines = {NASTY: [1.0, 0.5]}
    body = [paragraph(NASTY), listed([NASTY]), table([NASTY], [[NASTY]]), curve(NASTY, lines, {})]
    found = Texts(page(NASTY, body))
    assert "script" not in found.tags
    assert found.text.count("alert('x')") == 2 + 1 + 1 + 2 + 2


def test_a_page_needs_no_network() -> None:
    text = page("t", [curve("c", {"a": [1.0, 2.0]}, {}), sound(tone(0.1, 400))])
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "http" not in text
    assert "@import" not in text


def test_cells_are_numbers_markup_or_text() -> None:
    text = table(["a", "b", "c"], [[0.12345, float("nan"), Html("<b>x</b>")], [3, "<i>", ""]])
    assert "<td>0.12</td><td>–</td><td><b>x</b></td>" in text
    assert "<td>3</td><td>&lt;i&gt;</td>" in text


def test_curves_are_valid_and_stay_in_their_frame() -> None:
    lines = {"a": [1.0, 0.4, float("nan"), 0.2], "b": [0.9]}
    root = ET.fromstring(curve("loss", lines, {"a": "red"}))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    points = [p.attrib["points"].split() for p in root.iter("polyline")]
    assert [len(p) for p in points] == [3, 1]
    for point in (p for line in points for p in line):
        x, y = map(float, point.split(","))
        assert 0 <= x <= width
        assert 0 <= y <= height
    assert curve("nothing", {}, {}) == ""
    assert curve("nothing", {"a": [float("nan")]}, {}) == ""


def test_sound_is_in_the_page() -> None:
    audio = tone(0.3, 400, loud=3.0)
    (data,) = re.findall(r"data:audio/flac;base64,([^\"]+)", sound(audio))
    got, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(got, audio * (0.9 / 3.0), atol=1e-3)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtraError, match=r"streamer\[train\]"):
        sound(tone(0.1, 400))
