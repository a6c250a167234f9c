"""Files and network streams through PyAV: RTSP, HTTP, HLS.

What is live and what is not:
- a file is not live; `real` plays it at its own speed, `fast` as fast as the ring takes it;
- an RTSP URL is live always: its end is a failure, and it is connected to again;
- an HTTP URL whose length is known (a file on a server, a finished HLS playlist) is played like a
  file and ends; after an interruption it goes on where it was, without a gap. One without a known
  length (Icecast, a running HLS playlist) is live; if it turns finite later, it has ended.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal

import numpy as np

from streamer.audio.decode import DISCONTINUITY, AudioDecoder, Floats, Lost, audio_stream
from streamer.audio.failures import StalledSourceError, check_host, classify
from streamer.audio.redact import Redactor, redact
from streamer.audio.ring import Ring
from streamer.audio.source import Report
from streamer.audio.spec import SourceSpec
from streamer.audio.supervise import Feed, supervise
from streamer.config import SourceConfig
from streamer.errors import PermanentSourceError, TransientSourceError
from streamer.timebase import FRAME, SAMPLE_RATE, to_samples

if TYPE_CHECKING:
    from av.container import InputContainer

Pace = Literal["real", "fast"]

_NOTHING: Floats = np.zeros(0, np.float32)

USER_AGENT = "streamer"
AHEAD = 0.2
"""Seconds by which a file is read ahead."""
EARLY = 1.0
"""Seconds by which an HTTP file may end before its announced length without having been cut off."""


class UrlSource:
    """One URL or file. `run` is the target of its thread.

    `stop` is noticed between two packets; a server that has gone mute holds the thread for at most
    `open_timeout` or `read_timeout` seconds.
    """

    def __init__(self, spec: SourceSpec, config: SourceConfig, pace: Pace = "real") -> None:
        self.name = spec.name
        self.address = redact(spec.target)
        self._target = spec.target
        self._file = spec.kind == "file"
        self._rtsp = spec.target.lower().startswith("rtsp")
        self._config = config
        self._pace = pace
        self._clean = Redactor(spec.target) if not self._file else str

    @property
    def live(self) -> bool:
        """Files never lose a sample for lack of room, nor does anything read at `fast` pace."""
        return not self._file and self._pace == "real"

    def run(self, ring: Ring, report: Report, stop: threading.Event) -> None:
        """See `Source.run`."""
        feed = Feed(self.name, ring, report, stop, self._config, keep_clock=False)
        playback = _Playback(self._pace == "real")
        supervise(lambda feed: self._connect(feed, playback), feed)

    def _connect(self, feed: Feed, playback: _Playback) -> None:
        """One connection from opening to its end; see `supervise`."""
        import av

        opened = False
        try:
            if not self._file:
                check_host(self._target, feed.flowed)
            with self._open() as container:
                opened = True
                self._play(container, feed, playback)
        except (av.FFmpegError, OSError, ValueError) as error:
            failure = classify(error, flowed=feed.flowed, clean=self._clean)
            if not (self._file or opened) and feed.quiet_for >= self._config.open_timeout:
                # ffmpeg reports some interrupted openings as invalid data.
                failure = StalledSourceError(f"timeout: no answer within {self._config.open_timeout:g} s")
        except TransientSourceError as error:
            failure = error
        else:
            return
        if self._file:
            failure = PermanentSourceError(f"cannot read {self._target}: {failure}")
        raise failure from None  # the original's message may hold the password

    def _open(self) -> InputContainer:
        import av

        if self._file:
            return av.open(self._target, mode="r", metadata_errors="replace")
        options = {"user_agent": USER_AGENT, "analyzeduration": "2000000"}
        if self._rtsp:
            options |= {"rtsp_transport": "tcp", "allowed_media_types": "audio"}
        else:
            # A playlist from the network must not make us read local files.
            options["protocol_whitelist"] = "http,https,tcp,tls,crypto,httpproxy"
        return av.open(
            self._target,
            mode="r",
            options=options,
            timeout=(self._config.open_timeout, self._config.read_timeout),
            metadata_errors="replace",
        )

    def _play(self, container: InputContainer, feed: Feed, playback: _Playback) -> None:
        from av.stream import Discard

        stream = audio_stream(container)
        length = container.duration / 1_000_000 if container.duration else None
        finite = self._file or (not self._rtsp and length is not None)
        if not playback.begin(feed, finite):
            return
        decoder = AudioDecoder(playback.wanted)
        for other in container.streams:
            if other.index != stream.index:  # pictures, and the other variants of an HLS playlist
                other.discard = Discard.all
        try:
            # Still every stream's packets: a camera's picture may run on when its sound does not.
            for packet in container.demux():
                if feed.stop.is_set():
                    return
                if packet.stream_index == stream.index:
                    for piece in decoder.feed(packet):
                        if not playback.take(piece):
                            return
                if not finite and feed.quiet_for > self._config.stall:
                    raise StalledSourceError(f"connected, but no audio for {self._config.stall:g} s")
        finally:
            playback.take(decoder.flush())
            playback.release()
        if not finite:
            raise TransientSourceError("the server ended the stream")
        if not self._file and length is not None and playback.cut_off(length):
            raise TransientSourceError("the connection ended before the file did")


class _Playback:
    """Where a source is in its audio, over all its connections, and when the next block is due."""

    def __init__(self, paced: bool) -> None:
        self._paced = paced
        self._finite: bool | None = None
        self._delivered = 0  # samples of a finite source handed on, losses included
        self._skip = 0
        self._cut_at = -1
        self._started = 0.0
        self._connected = 0.0
        self._arrived = 0
        self._lead = 0.0
        self._held = _NOTHING  # of a paced source: less than what its ring takes at once

    def begin(self, feed: Feed, finite: bool) -> bool:
        """A connection is open; False where a live source has turned into a finished recording."""
        if finite and self._finite is False:
            return False
        self._feed = feed
        feed.keep_clock = not finite
        self._finite = finite
        self._skip = self._delivered if finite else 0
        self._started = time.monotonic() - self._delivered / SAMPLE_RATE
        self._connected = 0.0
        self._arrived = 0
        self._lead = 0.0
        return True

    def wanted(self) -> float:
        """Seconds of audio worth having at once: files are read ahead, a live source's reader may rest."""
        return AHEAD if self._finite else self._feed.ring.pace(1) / SAMPLE_RATE

    def take(self, piece: Floats | Lost) -> bool:
        """Hand one piece on, at its time; False when the source has to stop."""
        if isinstance(piece, Lost):
            return self._take_loss(piece)
        if not self._finite:
            self._note_arrival(len(piece))
            return self._feed.write(piece)
        skipped = min(self._skip, len(piece))
        self._skip -= skipped
        piece = piece[skipped:]
        if not self._paced:
            return self._deliver(piece)
        self._held = np.concatenate((self._held, piece))
        while len(self._held) >= (step := self._feed.ring.pace(FRAME)):
            if step > FRAME and self._feed.ring.wait_roused(self._until(step)):
                step = FRAME
            if not self._deliver(self._held[:step]):
                return False
            self._held = self._held[step:]
        return not self._feed.stop.is_set()

    def release(self) -> bool:
        """Hand on what is held back: nothing follows it. False when the source has to stop."""
        held, self._held = self._held, _NOTHING
        return len(held) == 0 or self._deliver(held)

    def cut_off(self, length: float) -> bool:
        """Whether the end came well before `length` seconds, and not at the same place as last time."""
        early = self._delivered / SAMPLE_RATE < length - max(EARLY, 0.02 * length)
        again = self._delivered == self._cut_at  # then the announced length is wrong
        self._cut_at = self._delivered
        return early and not again

    def _deliver(self, block: Floats) -> bool:
        self._delivered += len(block)
        if self._paced and (left := self._until(0)) > 0 and self._feed.stop.wait(left):
            return False
        return self._feed.write(block)

    def _until(self, samples: int) -> float:
        """Seconds until so many samples more than those delivered are due."""
        due = self._started + (self._delivered + samples) / SAMPLE_RATE
        return max(due - time.monotonic(), 0.0)

    def _take_loss(self, lost: Lost) -> bool:
        if self._finite:
            if not self.release():
                return False
            if lost.reason != DISCONTINUITY:  # a file's time stamps may jump without anything missing
                length = to_samples(lost.seconds)
                skipped = min(self._skip, length)
                self._skip -= skipped
                self._delivered += length - skipped
                self._feed.gap(length - skipped, lost.reason)
        elif lost.reason != DISCONTINUITY or lost.seconds <= self._deficit() + 0.25:
            # A jump of time stamps is believed only as far as the wall clock misses samples too.
            self._arrived += to_samples(lost.seconds)
            self._feed.gap(to_samples(lost.seconds), lost.reason)
        return not self._feed.stop.is_set()

    def _note_arrival(self, count: int) -> None:
        if self._connected == 0.0:
            self._connected = time.monotonic()
        self._arrived += count
        self._lead = max(self._lead, self._ahead())

    def _ahead(self) -> float:
        """Seconds by which this connection's audio is ahead of the wall clock (a server's first burst)."""
        return self._arrived / SAMPLE_RATE - (time.monotonic() - self._connected)

    def _deficit(self) -> float:
        return self._lead - self._ahead()
