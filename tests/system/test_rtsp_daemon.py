"""A camera's life: the daemon listens to a real RTSP server that dies and comes back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from streamer.timebase import SAMPLE_RATE
from tests.audio.rtsp import RtspServer, unavailable
from tests.system.daemon import Event, Process, bundled, hears_sounds, listen, sample, write_wav

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

SETTINGS = {
    "source.open_timeout": 3,
    "source.read_timeout": 1,
    "source.stall": 2,
    "source.retry_first": 0.3,
    "source.retry_longest": 1,
    "source.breaker_failures": 100,
}
PATIENCE = 60.0


def test_finals_and_sounds_go_on_after_the_server_died(tmp_path: Path, model: Path) -> None:
    """The recording's first sentence and its siren, over and over; one client through all of it."""
    audio = sample()
    spoken, siren = (
        audio[int(1.6 * SAMPLE_RATE) : 6 * SAMPLE_RATE],
        audio[30 * SAMPLE_RATE : 36 * SAMPLE_RATE],
    )
    wav = write_wav(tmp_path / "sample.wav", np.concatenate([spoken, siren]))
    with RtspServer(wav) as server:
        source = f"camera={server.url.replace('//', '//jim:secret@')}"
        with Process("run", "--source", source, model=model, settings=SETTINGS) as daemon:
            asyncio.run(story(daemon, server, model))
            assert daemon.terminate()[0] == 0
        assert "secret" not in "\n".join(daemon.log) + str(daemon.events)
        assert not any("Traceback" in line for line in daemon.log)


async def story(daemon: Process, server: RtspServer, model: Path) -> None:
    expects_sounds = model != bundled() or hears_sounds(model)
    async with daemon.connect("?since=0") as client, asyncio.timeout(PATIENCE):
        before = await listen(client, enough(expects_sounds))
        server.kill()
        began = time.monotonic()
        # The gap comes at once, so that an open utterance ends now; how long it gets shows when the server is
        # back. Two threads tell of gap and state, in either order.
        lost = await listen(client, Seen({"reconnecting", "stream.gap"}))
        assert time.monotonic() - began < 5
        await asyncio.sleep(1.0)
        server.start()
        back = await listen(client, lambda e: e["type"] == "stream.state" and e["state"] == "live")
        after = await listen(client, enough(expects_sounds))
        assert daemon.process.poll() is None
    gaps = [e for e in lost + back + after if e["type"] == "stream.gap"]
    missing = sum(gap["end"] - gap["start"] for gap in gaps)
    assert missing >= 1.0
    assert {gap["reason"] for gap in gaps} == {"interruption"}
    # One clock: what is said afterwards lies behind the gap.
    finals = [e for e in after if e["type"] == "transcript.final"]
    assert finals[-1]["start"] >= gaps[-1]["end"] - 0.02
    assert finals[-1]["utterance"] > 1
    # Whatever was open when the server died has its end.
    everything = before + lost + back + after
    for kind, number, until in (("speech", "utterance", finals[-1]["utterance"]), ("sound", "sound", 0)):
        begun = {e[number] for e in everything if e["type"] == f"{kind}.started" and e[number] <= until}
        ended = {e[number] for e in everything if e["type"] == f"{kind}.stopped"}
        assert begun <= ended
    if model == bundled():
        text = " ".join(e["text"] for e in everything if e["type"] == "transcript.final")
        assert "good morning" in text


class Seen:
    """Whether events of all these types, or states of these names, have come."""

    def __init__(self, wanted: set[str]) -> None:
        self._missing = set(wanted)

    def __call__(self, event: Event) -> bool:
        self._missing -= {event["type"], event.get("state", "")}
        return not self._missing


def enough(sounds: bool) -> Seen:
    """A final, and a sound where the model hears any."""
    return Seen({"transcript.final", "sound.tags"} | ({"sound.started"} if sounds else set()))
