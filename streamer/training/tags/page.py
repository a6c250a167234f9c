"""Pieces of a page that needs nothing but itself: tables, curves as SVG, sound as data."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from streamer.errors import MissingExtraError
from streamer.timebase import SAMPLE_RATE

STYLE = """
:root { color-scheme: light dark; --line: #8884; --a: #2a78d6; --b: #eb6834; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
.confusion td:not(:first-child) { text-align: center; min-width: 1.6rem; padding: .15rem .3rem; }
.confusion th:not(:first-child) { writing-mode: vertical-rl; font-weight: normal; border: 0; }
svg { max-width: 100%; height: auto; } svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
audio { height: 2rem; width: 14rem; vertical-align: middle; }
.note { opacity: .75; }
"""

WIDTH, HEIGHT, LEFT, BOTTOM = 460, 210, 46, 26


def page(title: str, body: Sequence[str]) -> str:
    """A whole document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body>\n<h1>{escape(title)}</h1>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Text in a paragraph."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def listed(items: Sequence[str]) -> str:
    """A list of texts."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def table(header: Sequence[str], rows: Sequence[Sequence[object]], kind: str = "") -> str:
    """A table; cells that are not text are numbers, `Html` goes in as it is."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table{_class(kind)}><tr>{head}</tr>\n{body}</table></div>'


class Html(str):
    """Markup, not text."""

    __slots__ = ()


def _cell(value: object) -> str:
    if isinstance(value, Html):
        return value
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.2f}"
    return escape(str(value))


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def curve(title: str, lines: Mapping[str, Sequence[float]], colours: Mapping[str, str]) -> Html:
    """Values over epochs, each line a sequence from epoch 1 on, as SVG."""
    values = np.array([v for line in lines.values() for v in line if np.isfinite(v)], np.float64)
    if not len(values):
        return Html("")
    longest = max(map(len, lines.values()))
    low, high = min(0.0, float(values.min())), float(values.max()) or 1.0
    right, top = WIDTH - LEFT - 10, HEIGHT - BOTTOM - 18

    def x(epoch: float) -> float:
        return LEFT + right * (epoch - 1) / max(1, longest - 1)

    def y(value: float) -> float:
        return 18 + top * (1 - (value - low) / (high - low or 1))

    marks = [
        f'<text x="{LEFT - 6}" y="{y(v) + 4:.0f}" text-anchor="end">{v:.3g}</text>'
        f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="var(--line)"/>'
        for v in (low, (low + high) / 2, high)
    ]
    marks += [
        f'<text x="{x(e):.0f}" y="{HEIGHT - 8}" text-anchor="middle">{e}</text>'
        for e in sorted({1, (longest + 1) // 2, longest})
    ]
    paths = []
    for name, line in lines.items():
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(line, start=1) if np.isfinite(v))
        colour = colours.get(name, "currentColor")
        paths.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5" opacity=".8">'
            f"<title>{escape(name)}</title></polyline>"
        )
    return Html(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{escape(title)}">'
        f'<text x="{LEFT}" y="11">{escape(title)}</text>{"".join(marks)}{"".join(paths)}</svg>'
    )


def sound(audio: NDArray[np.float32]) -> Html:
    """A player with the sound in it, as FLAC. Raises MissingExtraError without soundfile."""
    try:
        import soundfile
    except ImportError as error:
        raise MissingExtraError("sound in the report", "train") from error
    file = io.BytesIO()
    peak = float(np.abs(audio).max()) or 1.0
    soundfile.write(file, audio * np.float32(min(1.0, 0.9 / peak)), SAMPLE_RATE, format="FLAC")
    data = base64.b64encode(file.getvalue()).decode()
    return Html(f'<audio controls preload="none" src="data:audio/flac;base64,{data}"></audio>')
