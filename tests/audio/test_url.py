"""Files and HTTP streams: the right samples, the right end, and the right reaction to every failure."""

from __future__ import annotations

import logging
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from streamer.audio.decode import decode_file
from streamer.audio.ring import Ring
from streamer.audio.spec import SourceSpec
from streamer.audio.url import Pace, UrlSource
from streamer.events import SourceState
from streamer.timebase import SAMPLE_RATE
from tests.audio.http import serve
from tests.audio.tools import QUICK, Running, encode, tone

CONNECTING, LIVE, STALLED = SourceState.CONNECTING, SourceState.LIVE, SourceState.STALLED
RECONNECTING, FAILED, ENDED = SourceState.RECONNECTING, SourceState.FAILED, SourceState.ENDED


def file_source(path: Path, pace: Pace = "fast") -> UrlSource:
    return UrlSource(SourceSpec(path.name, "file", str(path)), QUICK, pace)


def url_source(url: str, pace: Pace = "real") -> UrlSource:
    return UrlSource(SourceSpec("net", "url", url), QUICK, pace)


def test_file_fast_gives_every_sample_and_ends(tmp_path: Path) -> None:
    samples = tone(2.0)
    path = encode(tmp_path / "a.wav", samples, SAMPLE_RATE, "pcm_s16le")
    source = file_source(path)
    assert not source.live
    with Running(source, capacity=1000) as running:  # a small ring: the source has to wait for room
        running.wait_end()
    assert running.states == [CONNECTING, LIVE, ENDED]
    assert running.ring.lost == 0
    assert len(running.samples) == 2 * SAMPLE_RATE
    assert np.abs(running.samples - samples[0]).max() < 1e-4
    assert np.array_equal(running.samples, decode_file(path))


def test_file_at_its_own_speed(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", tone(0.6), SAMPLE_RATE, "pcm_s16le")
    source = file_source(path, "real")
    assert not source.live
    began = time.monotonic()
    with Running(source) as running:
        running.wait(lambda: running.ring.position > 0)
        assert running.ring.position <= (time.monotonic() - began) * SAMPLE_RATE + 320
        running.wait_end()
    assert 0.58 < time.monotonic() - began < 2
    assert np.array_equal(running.samples, decode_file(path))


def test_a_file_at_its_own_speed_comes_as_seldom_as_its_reader_wants(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", tone(0.73), SAMPLE_RATE, "pcm_s16le")
    running = Running(file_source(path, "real"))
    sizes: list[int] = []

    class Watched(Ring):
        def write(self, samples: np.ndarray) -> bool:
            sizes.append(len(samples))
            done = super().write(samples)
            if len(sizes) == 3:
                self.rest(1)
            elif len(sizes) == 8:
                self.rest(1600)
            return done

    running.ring = Watched(SAMPLE_RATE, live=False)
    running.ring.rest(1600)
    with running:
        running.wait_end()
    assert np.array_equal(running.samples, decode_file(path))
    assert sizes == [1600] * 3 + [320] * 5 + [1600] * 3 + [480]


@pytest.mark.parametrize("content", [b"", b"this is no audio at all" * 100])
def test_unreadable_file_fails_for_good(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with Running(file_source(path)) as running:
        running.wait_end()
    assert running.states == [CONNECTING, FAILED]
    assert "bad.wav" in running.changes[-1].detail


@pytest.mark.parametrize(
    ("status", "words"), [(401, "401 unauthorised"), (403, "403 forbidden"), (404, "404 not found")]
)
def test_permanent_statuses(status: int, words: str) -> None:
    with serve({}) as server, Running(url_source(server.url(f"/{status}"))) as running:
        running.wait_end()
        assert len(server.requests) == 1
    assert running.states == [CONNECTING, FAILED]
    assert words in running.changes[-1].detail


def test_503_is_tried_again() -> None:
    with serve({}) as server, Running(url_source(server.url("/503"))) as running:
        running.wait(lambda: running.states.count(RECONNECTING) >= 3)
    assert running.states[:4] == [CONNECTING, RECONNECTING, CONNECTING, RECONNECTING]
    assert FAILED not in running.states
    waits = [change.retry_in for change in running.changes if change.state is RECONNECTING]
    assert all(wait is not None and wait > 0 for wait in waits)


def test_refused_is_tried_again() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with Running(url_source(f"http://127.0.0.1:{closed.getsockname()[1]}/a")) as running:
            running.wait(lambda: running.states.count(RECONNECTING) >= 2)
    assert "refused" in running.changes[1].detail


def test_unknown_host_fails_for_good() -> None:
    with Running(url_source("rtsp://no.such.host.invalid/a")) as running:
        running.wait(lambda: len(running.states) >= 2, 12)
    # Without a network the name server cannot be asked, which is worth another attempt.
    temporary = "cannot be looked up" in running.changes[1].detail
    assert running.states[:2] == [CONNECTING, RECONNECTING if temporary else FAILED]
    assert "no.such.host.invalid" in running.changes[1].detail


def test_finite_http_file_ends(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", tone(0.4), SAMPLE_RATE, "pcm_s16le")
    with serve({"a.wav": path.read_bytes()}) as server, Running(url_source(server.url("/a.wav"))) as running:
        running.wait_end()
    assert running.states == [CONNECTING, LIVE, ENDED]
    assert np.array_equal(running.samples, decode_file(path))


def test_finite_http_file_goes_on_after_a_cut(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", tone(20.0), SAMPLE_RATE, "pcm_s16le")
    with (
        serve({"a.wav": path.read_bytes()}) as server,
        Running(url_source(server.url("/cut/a.wav"), "fast")) as running,
    ):
        running.wait_end()
    assert running.states == [CONNECTING, LIVE, RECONNECTING, CONNECTING, LIVE, ENDED]
    assert not running.gaps
    assert np.array_equal(running.samples, decode_file(path))


def test_live_http_stream_is_reconnected_with_a_gap(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.ogg", tone(1.0), SAMPLE_RATE, "libopus")
    with (
        serve({"a.ogg": path.read_bytes()}) as server,
        Running(url_source(server.url("/live/a.ogg"))) as running,
    ):
        running.wait(lambda: running.states.count(LIVE) >= 2)
        running.wait(lambda: len(running.samples) > SAMPLE_RATE)
        gaps = list(running.gaps)
    assert running.states[:5] == [CONNECTING, LIVE, RECONNECTING, CONNECTING, LIVE]
    assert running.changes[2].detail
    assert gaps
    assert {gap.reason for gap in gaps} == {"interruption"}


def test_half_open_connection_is_noticed_and_reopened(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.ogg", tone(2.0), SAMPLE_RATE, "libopus")
    with (
        serve({"a.ogg": path.read_bytes()}) as server,
        Running(url_source(server.url("/mute/a.ogg"))) as running,
    ):
        running.wait(lambda: LIVE in running.states)
        began = time.monotonic()
        running.wait(lambda: STALLED in running.states)
        assert time.monotonic() - began < QUICK.read_timeout + QUICK.stall + 1
        running.wait(lambda: running.states.count(CONNECTING) >= 2)
    at = running.states.index(STALLED)
    assert running.states[at + 1] is RECONNECTING


def test_server_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        quick = QUICK.model_copy(update={"open_timeout": 0.5})
        spec = SourceSpec("net", "url", f"rtsp://127.0.0.1:{server.getsockname()[1]}/a")
        with Running(UrlSource(spec, quick)) as running:
            began = time.monotonic()
            running.wait(lambda: RECONNECTING in running.states)
            assert time.monotonic() - began < 2 * quick.open_timeout + 1
            running.wait(lambda: running.states.count(CONNECTING) >= 2)
    assert running.states[1] is STALLED


def test_interruption_keeps_the_clock_on_real_time(tmp_path: Path) -> None:
    """The server goes away for a second: samples plus gaps add up to the time that passed."""
    body = encode(tmp_path / "a.ogg", tone(0.3), SAMPLE_RATE, "libopus").read_bytes()
    with serve({"a.ogg": body}) as server:
        port = server.server_port
        running = Running(url_source(server.url("/live/a.ogg")))
        running.__enter__()
        running.wait(lambda: running.ring.position > 0)
        began = time.monotonic()
        first = running.ring.position
        running.wait(lambda: RECONNECTING in running.states)
    connections = running.states.count(LIVE)
    time.sleep(1.0)
    with serve({"a.ogg": body}, port):
        running.wait(lambda: running.states.count(LIVE) > connections)
        running.wait(
            lambda: bool(running.gaps) and sum(gap.length for gap in running.gaps) > 0.9 * SAMPLE_RATE
        )
        elapsed = (time.monotonic() - began) * SAMPLE_RATE
        gaps = sum(gap.length for gap in running.gaps)
        running.__exit__(None, None, None)
    assert 0.9 * SAMPLE_RATE < gaps < elapsed + 0.2 * SAMPLE_RATE
    assert running.ring.position >= first
    starts = [gap.start for gap in running.gaps]
    assert starts == sorted(starts)


def test_no_password_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = "jim:Hunter2%40x@"
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    with serve({}) as server:
        urls = [
            server.url("/401?token=S3cretToken", secrets),
            server.url("/503?password=S3cretToken", secrets),
            f"rtsp://{secrets}127.0.0.1:{port}/S?auth=S3cretToken",
            f"rtsp://{secrets}no.such.host.invalid/S",
            f"rtsp://{secrets}127.0.0.1:notaport/S",
        ]
        texts: list[str] = []
        for url in urls:
            source = url_source(url)
            texts += [source.address, repr(SourceSpec("x", "url", url))]
            with Running(source) as running:
                running.wait(lambda running=running: len(running.states) >= 2, 12)
            texts += [f"{change}" for change in running.changes]
    captured = capfd.readouterr()
    everything = "\n".join([*texts, caplog.text, captured.out, captured.err])
    for secret in ("Hunter2", "S3cretToken"):
        assert secret not in everything


def test_stop_is_quick(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", tone(30.0), SAMPLE_RATE, "pcm_s16le")
    with Running(file_source(path, "real")) as running:
        running.wait(lambda: LIVE in running.states)
        began = time.monotonic()
        running.stop.set()
        running.thread.join(2)
        assert time.monotonic() - began < 0.5
    assert ENDED not in running.states


def test_hls_playlist_of_a_finished_recording(tmp_path: Path) -> None:
    import av

    with av.open(
        str(tmp_path / "a.m3u8"), "w", format="hls", options={"hls_time": "1", "hls_list_size": "0"}
    ) as out:
        stream = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(2.5), format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for piece in av.AudioResampler(
            format="fltp", layout="mono", rate=SAMPLE_RATE, frame_size=1024
        ).resample(frame):
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(files) >= 3
    with serve(files) as server, Running(url_source(server.url("/a.m3u8"), "fast")) as running:
        running.wait_end()
    assert running.states == [CONNECTING, LIVE, ENDED]
    assert 2.3 * SAMPLE_RATE < len(running.samples) < 2.7 * SAMPLE_RATE


def test_a_source_starts_no_thread_of_its_own() -> None:
    before = {thread.name for thread in threading.enumerate()}
    with Running(url_source("http://127.0.0.1:1/")) as running:
        running.wait(lambda: RECONNECTING in running.states)
        assert {thread.name for thread in threading.enumerate()} - before == {"test-source"}
