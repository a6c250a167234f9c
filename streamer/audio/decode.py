"""From packets to 16 kHz mono float32: the one decoder behind files, URLs and whole-file reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from streamer.audio.failures import classify
from streamer.audio.resample import Resampler
from streamer.errors import PermanentSourceError
from streamer.timebase import SAMPLE_RATE, to_samples

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet

Floats = NDArray[np.float32]

DECODE_ERROR = "decode_error"
DISCONTINUITY = "discontinuity"

_JUMP = 0.2
"""Seconds by which time stamps must jump ahead to count as missing audio; less is jitter."""

_MIX = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
"""Shares of a surround layout's channels in the mix (ITU-R BS.775); all others 0.5. Their sum becomes 1."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Audio that should have been here: `seconds` of it, `reason` as in a gap."""

    seconds: float
    reason: str


class AudioDecoder:
    """Decodes, mixes down and resamples one audio stream; survives damaged packets and format changes.

    collect: how many seconds of audio are worth mixing and resampling, asked with every frame: less is held
    back until there is more, or a loss, or `flush`. What comes out is the same.
    """

    def __init__(self, collect: Callable[[], float] = lambda: 0.0) -> None:
        self._collect = collect
        self._decoded: list[Floats] = []  # of one format, not mixed yet
        self._resampler: Resampler | None = None
        self._layout = ""
        self._next_time: float | None = None

    def feed(self, packet: Packet[Any]) -> list[Floats | Lost]:
        """Audio of one packet in order, (n,) float32 pieces and losses. An empty packet flushes the codec."""
        import av.error

        try:
            frames = cast("list[AudioFrame]", packet.decode())
        except (av.error.InvalidDataError, av.error.PatchWelcomeError, av.error.BugError):
            duration = packet.duration
            length = float(duration * packet.time_base) if duration and packet.time_base else 0.0
            # The next time stamp shows a loss of which the packet did not say how long it was.
            return [self.flush(), Lost(length, DECODE_ERROR)] if length > 0 else []
        pieces: list[Floats | Lost] = []
        for frame in frames:
            pieces += self._frame(frame)
        return pieces

    def flush(self) -> Floats:
        """What is held back, also by the resampler; audio after it starts anew."""
        if self._resampler is None:
            return np.zeros(0, dtype=np.float32)
        return np.concatenate((self._resampled(self._resampler), self._resampler.flush()))

    def _resampled(self, resampler: Resampler) -> Floats:
        decoded, self._decoded = self._decoded, []
        return resampler.feed(np.concatenate(decoded)) if decoded else np.zeros(0, dtype=np.float32)

    def _frame(self, frame: AudioFrame) -> list[Floats | Lost]:
        pieces: list[Floats | Lost] = []
        time = frame.time
        if time is not None:
            if self._next_time is not None and time - self._next_time > _JUMP:
                pieces += [self.flush(), Lost(time - self._next_time, DISCONTINUITY)]
            self._next_time = time + frame.samples / frame.sample_rate
        resampler = self._resampler
        if resampler is None or resampler.rate_in != frame.sample_rate or self._layout != frame.layout.name:
            pieces.append(self.flush())
            resampler = self._resampler = Resampler(
                frame.sample_rate,
                len(frame.layout.channels),
                mix_weights([c.name for c in frame.layout.channels]),
            )
            self._layout = frame.layout.name
        self._decoded.append(frame_samples(frame))
        if sum(map(len, self._decoded)) >= self._collect() * frame.sample_rate:
            pieces.append(self._resampled(resampler))
        return pieces


def mix_weights(channels: list[str]) -> list[float] | None:
    """Shares of the named channels (ffmpeg's names) in the mono mix; None for an equal mix."""
    if len(channels) <= 2:
        return None
    weights = [_MIX.get(name, 0.5) for name in channels]
    total = sum(weights)
    return [weight / total for weight in weights] if total > 0 else None


def frame_samples(frame: AudioFrame) -> Floats:
    """A decoded frame of any sample format as (n, channels) float32, full scale at 1."""
    data = frame.to_ndarray()
    channels = len(frame.layout.channels)
    samples = data.T if frame.format.is_planar else data.reshape(-1, channels)
    floats = samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return (floats - np.float32(128)) * np.float32(1 / 128)
    if samples.dtype.kind == "i":
        return floats * np.float32(0.5 ** (8 * samples.dtype.itemsize - 1))
    return floats if np.isfinite(floats).all() else np.nan_to_num(floats, nan=0.0, posinf=1.0, neginf=-1.0)


def audio_stream(container: InputContainer) -> AudioStream:
    """The container's best audio stream; PermanentSourceError where it has none."""
    stream = container.streams.best("audio")
    if stream is None:
        kinds = ", ".join(sorted({str(s.type) for s in container.streams})) or "nothing"
        raise PermanentSourceError(f"expected audio, found only {kinds}")
    return stream  # type: ignore[return-value]  # best("audio") gives an audio stream


def decode_pieces(path: str) -> Iterator[Floats | Lost]:
    """Decode the audio of a local file. Raises PermanentSourceError for what cannot be read as audio."""
    import av

    try:
        with av.open(path, mode="r", metadata_errors="replace") as container:
            decoder = AudioDecoder()
            for packet in container.demux(audio_stream(container)):
                yield from decoder.feed(packet)
            yield decoder.flush()
    except (av.FFmpegError, OSError, ValueError) as error:
        raise PermanentSourceError(f"{path}: {classify(error, flowed=False, clean=str)}") from error


def decode_file(path: str | Path) -> Floats:
    """The whole of an audio (or video) file as mono float32 at 16 kHz, (n,).

    Damaged places become silence of the same length. Raises PermanentSourceError where the file is
    missing, not readable as audio, or holds no audio.
    """
    if not Path(path).is_file():
        raise PermanentSourceError(f"expected an audio file, found no file {str(path)!r}")
    pieces = [_silence(piece) if isinstance(piece, Lost) else piece for piece in decode_pieces(str(path))]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)


def _silence(lost: Lost) -> Floats:
    """Zeros for damage; nothing for a jump of time stamps, which in a file means nothing is missing."""
    length = to_samples(lost.seconds) if lost.reason == DECODE_ERROR else 0
    return np.zeros(min(length, SAMPLE_RATE), dtype=np.float32)
