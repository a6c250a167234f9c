"""Events for people: captions whose last line is rewritten while somebody speaks, sounds in colour.

On a terminal the partial text is the last line and is redrawn; finals, sounds, gaps and states stay.
Elsewhere only what stays is written, one plain line each.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Mapping
from typing import Any, TextIO

import click

from streamer.cli.output import clean, width

_STREAM_COLOURS = ("cyan", "magenta", "blue", "green", "bright_cyan", "bright_magenta")
_SOUND_COLOURS = ("yellow", "bright_yellow", "bright_green", "bright_magenta", "bright_cyan", "bright_red")


def _pick(name: str, colours: tuple[str, ...]) -> str:
    """Always the same colour for one name."""
    return colours[zlib.crc32(name.encode()) % len(colours)]


def clock(seconds: float) -> str:
    """``1:02:03.4``, hours only where there are any."""
    tenths = max(0, round(seconds * 10))
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{tenths / 10:04.1f}" if hours else f"{minutes:2}:{tenths / 10:04.1f}"


class Screen:
    """Writes events to `out`. One thread at a time.

    `live`: rewrite the partial line (a terminal). `colour`: by default on a terminal without NO_COLOR.
    """

    def __init__(self, out: TextIO, live: bool | None = None, colour: bool | None = None) -> None:
        self._out = out
        self._live = (out.isatty() and os.environ.get("TERM") != "dumb") if live is None else live
        self._colour = (self._live and not os.environ.get("NO_COLOR")) if colour is None else colour
        self._streams: set[str] = set()
        self._partials: dict[str, tuple[float, str, str]] = {}  # stream -> start, stable, rest; latest last
        self._drawn = False

    def show(self, event: Mapping[str, Any]) -> None:
        """Write one event, given as the protocol's object. Kinds that are not for people are ignored."""
        stream = clean(event.get("stream") or "")
        if stream:
            self._streams.add(stream)
        kind = event.get("type")
        if kind == "transcript.partial":
            text, stable = clean(event["text"]), clean(event["stable"])
            stable = stable if text.startswith(stable) else ""
            self._partials.pop(stream, None)
            self._partials[stream] = (event["start"], stable, text[len(stable) :])
            self._redraw()
            return
        if kind == "transcript.final":
            self._partials.pop(stream, None)
        line = self._line(str(kind), event, stream)
        if line:
            self._erase()
            self._out.write(line + "\n")
        self._redraw()
        self._out.flush()

    def say(self, text: str) -> None:
        """A line of our own, above the partial one."""
        self._erase()
        self._out.write(self._style(clean(text), dim=True) + "\n")
        self._redraw()
        self._out.flush()

    def close(self) -> None:
        """Leave no half-drawn line behind."""
        self._partials.clear()
        self._erase()
        self._out.flush()

    def _line(self, kind: str, event: Mapping[str, Any], stream: str) -> str:
        match kind:
            case "transcript.final":
                text = clean(event["text"]).strip()
                return self._at(event["start"], stream) + text if text else ""
            case "sound.started":
                label = self._sound(event["label"], bold=True)
                return (
                    self._at(event["start"], stream) + label + self._style(f" {event['score']:.0%}", dim=True)
                )
            case "sound.stopped":
                length = f" ended after {max(0.0, event['end'] - event['start']):.1f} s"
                return (
                    self._at(event["end"], stream)
                    + self._sound(event["label"])
                    + self._style(length, dim=True)
                )
            case "stream.gap":
                missing = f"{event['end'] - event['start']:.1f} s missing ({clean(event['reason'])})"
                return self._at(event["start"], stream) + self._style(missing, fg="red")
            case "stream.state":
                detail = clean(event.get("detail") or "")
                if event.get("retry_in") is not None:
                    detail += f", next attempt in {event['retry_in']:.0f} s"
                bad = event["state"] in ("failed", "stalled", "reconnecting")
                text = f"{stream}: {clean(event['state'])}" + (f" ({detail.strip(', ')})" if detail else "")
                return self._style(text, fg="red" if bad else None, dim=not bad)
            case "error":
                return self._style(f"{clean(event['code'])}: {clean(event['message'])}", fg="red")
            case _:
                return ""

    def _at(self, seconds: float, stream: str) -> str:
        time = self._style(f"{clock(seconds)}  ", dim=True)
        if len(self._streams) < 2:
            return time
        return time + self._style(stream, fg=_pick(stream, _STREAM_COLOURS)) + "  "

    def _sound(self, label: object, bold: bool = False) -> str:
        text = clean(label)
        return self._style(f"[{text}]", fg=_pick(text, _SOUND_COLOURS), bold=bold)

    def _style(self, text: str, fg: str | None = None, bold: bool = False, dim: bool = False) -> str:
        if not self._colour:
            return text
        return click.style(text, fg=fg, bold=bold or None, dim=dim or None)

    def _erase(self) -> None:
        if self._drawn:
            self._out.write("\r\x1b[2K")
            self._drawn = False

    def _redraw(self) -> None:
        """Draw the newest partial as the last line, its end where it does not fit."""
        if not self._live:
            return
        self._erase()
        if self._partials:
            stream, (start, stable, rest) = next(reversed(self._partials.items()))
            lead = f"{clock(start)}  " + (f"{stream}  " if len(self._streams) > 1 else "")
            room = max(8, shutil.get_terminal_size().columns - 1 - width(lead))
            while width(stable) + width(rest) > room:
                stable, rest = (stable[1:], rest) if stable else ("", rest[1:])
            self._out.write(self._style(lead, dim=True) + stable + self._style(rest, dim=True))
            self._drawn = True
        self._out.flush()
