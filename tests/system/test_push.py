"""Audio that a client pushes: through the real server and pipeline, nothing of it lost, however it is cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.timebase import SAMPLE_RATE
from tests.cli.tiny import speech_like
from tests.system.daemon import Event, Process, bundled, is_end, listen, pcm, push, sample

SETTINGS = {"live.policy": "off"}
"""Which partials are thinned out is a matter of time; without them the final's text is not."""


@pytest.fixture(scope="module")
def daemon(model: Path) -> Iterator[Process]:
    with Process("run", "--source", "none=http://127.0.0.1:9/", model=model, settings=SETTINGS) as daemon:
        yield daemon
        assert daemon.terminate()[0] == 0
    assert not any("Traceback" in line for line in daemon.log)


def audio() -> np.ndarray:
    """A second of silence, two sentences that end with the file."""
    if bundled():
        return sample()[int(1.5 * SAMPLE_RATE) : int(5.1 * SAMPLE_RATE)]
    silence = np.zeros(SAMPLE_RATE, np.float32)
    return np.concatenate([silence, speech_like(2.0), silence, speech_like(1.5)])


async def pushed(
    daemon: Process, name: str, data: bytes, sizes: Callable[[], int], **options: Any
) -> list[Event]:
    """The stream's events."""
    async with asyncio.timeout(30), daemon.connect(f"?streams={name}") as client:
        sending = asyncio.create_task(push(client, name, data, sizes, **options))
        events = await listen(client, lambda e: is_end(e, name))
        await sending
        # Its name is free again, after a moment.
        await client.send(json.dumps({"type": "pause", "stream": name}))
        return [e for e in events if e["stream"] == name]


def essence(events: list[Event]) -> list[tuple[Any, ...]]:
    """What does not depend on the time it took."""
    kept = ("speech.started", "speech.stopped", "transcript.final")
    return [
        (e["type"], e["utterance"], e["start"], e.get("end"), e.get("text"), str(e.get("words")))
        for kind in kept
        for e in events
        if e["type"] == kind
    ]


def test_the_tail_is_flushed_and_its_final_comes(daemon: Process) -> None:
    samples = audio()
    events = asyncio.run(pushed(daemon, "phone", pcm(samples), lambda: 32_000))
    assert [e["state"] for e in events if e["type"] == "stream.state"] == ["connecting", "live", "ended"]
    assert events[-1]["type"] == "stream.state"  # after everything else
    finals = [e for e in events if e["type"] == "transcript.final"]
    stopped = [e for e in events if e["type"] == "speech.stopped"]
    assert stopped[-1]["reason"] in ("end", "silence")
    assert len(finals) == len(stopped) >= 1
    assert finals[-1]["end"] <= len(samples) / SAMPLE_RATE + 0.02
    assert not [e for e in events if e["type"] == "stream.gap"]
    if bundled():
        assert "good morning" in finals[0]["text"]
    else:
        assert finals[-1]["end"] == pytest.approx(len(samples) / SAMPLE_RATE, abs=0.03)
        assert stopped[-1]["reason"] == "end"


def test_cut_anywhere_it_says_the_same(daemon: Process) -> None:
    """Bytes of one sample in two messages, single bytes, all at once."""
    data = pcm(audio())
    wanted = essence(asyncio.run(pushed(daemon, "whole", data, lambda: len(data))))
    assert [e[0] for e in wanted].count("transcript.final") >= 1
    odd = cycle([1, 3, 777, 31_999, 2, 6401, 5])
    for name, sizes in (("odd", lambda: next(odd)), ("frames", lambda: 639)):
        assert essence(asyncio.run(pushed(daemon, name, data, sizes))) == wanted


def test_float_samples_say_the_same_as_the_integers_they_came_from(daemon: Process) -> None:
    data = pcm(audio())
    floats = (np.frombuffer(data, "<i2").astype("<f4") / 32768).tobytes()
    one = asyncio.run(pushed(daemon, "integers", data, lambda: 32_000))
    two = asyncio.run(pushed(daemon, "floats", floats, lambda: 33_333, encoding="f32le"))
    assert essence(one) == essence(two)


def test_a_client_that_leaves_ends_its_stream_like_one_that_closes_it(daemon: Process) -> None:
    async def story() -> list[Event]:
        async with asyncio.timeout(30), daemon.connect("?streams=gone") as watcher:
            async with daemon.connect() as client:
                await client.send(json.dumps({"type": "audio.open", "stream": "gone", "rate": SAMPLE_RATE}))
                await client.send(pcm(audio()))
            return await listen(watcher, lambda e: is_end(e, "gone"))

    events = asyncio.run(story())
    wanted = asyncio.run(pushed(daemon, "closed", pcm(audio()), lambda: 32_000))
    assert essence(events) == essence(wanted)
