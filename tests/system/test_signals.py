"""SIGTERM while somebody speaks: the client gets the final, then the connection is closed, all within 5 s."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from streamer.timebase import SAMPLE_RATE
from tests.cli.tiny import speech_like
from tests.system.daemon import Process, bundled, listen, pcm, sample, write_wav

LIMIT = 5.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_open_utterance_gets_its_final(number: signal.Signals, tmp_path: Path, model: Path) -> None:
    """In real time from a file whose speaker goes on and on."""
    speaker = sample()[int(1.9 * SAMPLE_RATE) : int(5 * SAMPLE_RATE)] if bundled() else speech_like(3.0)
    wav = write_wav(tmp_path / "speaker.wav", np.tile(speaker, 5))

    async def story(daemon: Process) -> None:
        async with asyncio.timeout(30), daemon.connect("?since=0") as client:
            await listen(client, lambda e: e["type"] == "transcript.partial" and e["end"] - e["start"] > 1)
            began = time.monotonic()
            os.kill(daemon.process.pid, number)
            rest = [json.loads(message) async for message in client]
            assert await asyncio.to_thread(daemon.process.wait, 10) == 0
            assert time.monotonic() - began < LIMIT
        assert client.close_code == 1001
        kinds = [event["type"] for event in rest]
        assert kinds.count("speech.stopped") == kinds.count("transcript.final") == 1
        final = rest[kinds.index("transcript.final")]
        assert final["end"] - final["start"] > 1
        if model == bundled():
            assert "good morning" in final["text"]
        ended = rest[-1]
        assert (ended["type"], ended["state"]) == ("stream.state", "ended")

    with Process("run", "--source", str(wav), model=model) as daemon:
        asyncio.run(story(daemon))
    assert not any("Traceback" in line for line in daemon.log)


def test_what_a_client_is_pushing_gets_its_final_too(tiny: Path) -> None:
    async def story(daemon: Process) -> None:
        async with asyncio.timeout(30), daemon.connect() as client:
            await client.send(json.dumps({"type": "audio.open", "stream": "phone", "rate": SAMPLE_RATE}))
            await client.send(pcm(speech_like(2.0)))
            await listen(client, lambda e: e["type"] == "transcript.partial")
            began = time.monotonic()
            daemon.process.send_signal(signal.SIGTERM)
            rest = [json.loads(message) async for message in client]
            assert await asyncio.to_thread(daemon.process.wait, 10) == 0
            assert time.monotonic() - began < LIMIT
        finals = [event for event in rest if event["type"] == "transcript.final"]
        assert [round(final["end"], 1) for final in finals] == [2.0]

    # Random weights are sure of nothing and look anywhere: reason enough not to show their text.
    believing = {"guards.enabled": "false", "live.policy": "off", "live.tail": "0"}
    with Process("run", "--source", "none=http://127.0.0.1:9/", model=tiny, settings=believing) as daemon:
        asyncio.run(story(daemon))
