"""Against a real RTSP server: audio arrives, and comes back after every way of losing it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from streamer.audio.spec import SourceSpec
from streamer.audio.url import UrlSource
from streamer.events import SourceState
from streamer.timebase import SAMPLE_RATE
from tests.audio.rtsp import RtspServer, unavailable
from tests.audio.tools import QUICK, Running, encode

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

SETTINGS = QUICK.model_copy(update={"read_timeout": 0.7, "stall": 0.7})
LIVE, RECONNECTING = SourceState.LIVE, SourceState.RECONNECTING


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A steady tone of 500 Hz that fits its loop."""
    wave = 0.4 * np.sin(2 * np.pi * 500 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    return encode(tmp_path_factory.mktemp("rtsp") / "tone.wav", wave.reshape(1, -1), SAMPLE_RATE, "pcm_s16le")


def source(url: str) -> UrlSource:
    return UrlSource(SourceSpec("camera", "url", url), SETTINGS)


def loudest_frequency(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * SAMPLE_RATE / len(samples))


@pytest.mark.parametrize(("codec", "video"), [("l16", True), ("opus", False), ("pcmu", False)])
def test_audio_arrives_in_real_time(wav: Path, codec: str, video: bool) -> None:
    with RtspServer(wav, codec, video=video) as server, Running(source(server.url)) as running:
        running.wait(lambda: LIVE in running.states, 10)
        # A server may begin with a burst; after it, a second lasts a second.
        running.wait(lambda: len(running.samples) > 0.8 * SAMPLE_RATE)
        began, at = time.monotonic(), len(running.samples)
        running.wait(lambda: len(running.samples) - at > 0.6 * SAMPLE_RATE)
        assert time.monotonic() - began == pytest.approx(0.6, abs=0.2)
    assert running.states == [SourceState.CONNECTING, LIVE]
    assert not running.gaps
    assert loudest_frequency(running.samples[3200:16000]) == pytest.approx(500, abs=3)
    assert np.abs(running.samples[3200:]).max() == pytest.approx(0.4, abs=0.1)


def test_killed_and_restarted_server(wav: Path) -> None:
    with RtspServer(wav) as server, Running(source(server.url)) as running:
        running.wait(lambda: len(running.samples) > 8000, 10)
        server.kill()
        began = time.monotonic()
        running.wait(lambda: RECONNECTING in running.states)
        running.wait(lambda: bool(running.gaps))  # at once, so that an open utterance ends now
        time.sleep(0.5)
        server.start()
        running.wait(lambda: running.states.count(LIVE) == 2, 10)
        elapsed = time.monotonic() - began
        before = len(running.samples)
        running.wait(lambda: len(running.samples) > before + 8000)
    missing = sum(gap.length for gap in running.gaps)
    assert missing / SAMPLE_RATE == pytest.approx(elapsed, abs=0.15)
    assert {gap.reason for gap in running.gaps} == {"interruption"}
    assert running.ring.position == len(running.samples) + missing


def test_half_open_connection(wav: Path) -> None:
    with RtspServer(wav) as server, Running(source(server.url)) as running:
        running.wait(lambda: len(running.samples) > 4000, 10)
        server.freeze()
        began = time.monotonic()
        running.wait(lambda: SourceState.STALLED in running.states)
        assert time.monotonic() - began < SETTINGS.read_timeout + 1
        server.thaw()
        running.wait(lambda: running.states.count(LIVE) == 2, 10)
    assert running.gaps


def test_wrong_password_and_path_fail_for_good(wav: Path) -> None:
    with RtspServer(wav, user="jim", password="right") as server:
        for url, words in (
            (server.url.replace("//", "//jim:wrong@"), "401"),
            (server.url.replace("//", "//jim:right@").replace("/audio", "/other"), "404"),
        ):
            with Running(source(url)) as running:
                running.wait_end(10)
            assert running.states[-1] is SourceState.FAILED
            assert words in running.changes[-1].detail
            assert "wrong" not in f"{running.changes} {running.source.address}"
        with Running(source(server.url.replace("//", "//jim:right@"))) as running:
            running.wait(lambda: LIVE in running.states, 10)
