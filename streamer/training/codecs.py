"""Speech as it is after a call or a small file: coded and decoded again in memory, by ffmpeg's codecs."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from streamer.timebase import SAMPLE_RATE

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.frame import AudioFrame

Audio = NDArray[np.float32]

_BLOCK = 8192
"""Lengths are padded to a multiple of this before rates change: all rates divide, and it transforms fast."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One way of coding: names of ffmpeg's encoder and decoder, Hz, the bits a second to choose from.

    delay: samples (at `rate`) by which what is decoded is late; ffmpeg itself drops mp3's and Opus's.
    """

    encoder: str
    decoder: str
    rate: int
    bit_rates: tuple[int, ...] = (0,)
    delay: int = 0
    options: tuple[tuple[str, str], ...] = ()


MU_LAW = Codec("pcm_mulaw", "pcm_mulaw", 8000)
CODECS = (
    Codec("libmp3lame", "mp3float", 16000, (16000, 24000, 32000), 0, (("compression_level", "9"),)),
    Codec("libopus", "libopus", 16000, (6000, 8000, 12000, 16000), 0, (("compression_level", "0"),)),
    Codec("libopencore_amrnb", "amrnb", 8000, (4750, 5900, 7400, 12200), 40),
    Codec("g722", "g722", 16000, (64000,), 22),
    MU_LAW,
    Codec("pcm_alaw", "pcm_alaw", 8000),
)
"""Files from the net, calls over it, mobile and fixed telephones."""


@cache
def available() -> tuple[Codec, ...]:
    """Those of `CODECS` that the installed ffmpeg has."""
    import av.codec

    names = av.codec.codecs_available
    return tuple(codec for codec in CODECS if {codec.encoder, codec.decoder} <= names)


def coded(audio: Audio, codec: Codec, bit_rate: int = 0) -> Audio:
    """`audio` (n,) after the codec, there and back: as long, and every sound where it was.

    bit_rate: bits a second, one of the codec's. What is louder than full scale is clipped.
    """
    padded = np.pad(audio, (0, _BLOCK + -len(audio) % _BLOCK))
    frames = _through(resampled(padded, SAMPLE_RATE, codec.rate), codec, bit_rate)
    rate = frames[0].sample_rate
    out = np.concatenate([frame.to_ndarray().ravel() for frame in frames])
    if out.dtype.kind == "i":
        out = out * np.float32(0.5 ** (8 * out.dtype.itemsize - 1))
    out = out[codec.delay * rate // codec.rate :]
    length = len(padded) * rate // SAMPLE_RATE
    out = np.pad(out[:length], (0, max(0, length - len(out))))
    return resampled(out, rate, SAMPLE_RATE)[: len(audio)]


def resampled(audio: Audio, rate_in: int, rate_out: int) -> Audio:
    """The whole of a recording at another rate, by cutting or padding its spectrum; n · out / in is whole."""
    if rate_in == rate_out:
        return audio
    length = len(audio) * rate_out // rate_in
    spectrum = np.fft.rfft(audio)[: length // 2 + 1]
    return (np.fft.irfft(spectrum, length) * (rate_out / rate_in)).astype(np.float32)


def _through(audio: Audio, codec: Codec, bit_rate: int) -> list[AudioFrame]:
    """Frames that come out of the decoder for `audio` in the encoder."""
    import av
    from av.audio.frame import AudioFrame

    encoder = cast("AudioCodecContext", av.CodecContext.create(codec.encoder, "w"))
    encoder.sample_rate, encoder.layout = codec.rate, "mono"
    encoder.time_base = Fraction(1, codec.rate)
    formats = [one.name for one in encoder.codec.audio_formats or ()]
    floats = next((name for name in formats if name.startswith("flt")), None)
    encoder.format = floats or "s16"
    if bit_rate:
        encoder.bit_rate = bit_rate
    encoder.options = dict(codec.options)
    encoder.open()
    decoder = cast("AudioCodecContext", av.CodecContext.create(codec.decoder, "r"))
    decoder.sample_rate, decoder.layout = codec.rate, "mono"
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    samples = np.clip(audio, -1, 1)
    if floats is None:
        samples = np.rint(samples * 32767).astype(np.int16)
    size = encoder.frame_size or len(samples)
    samples = np.pad(samples, (0, -len(samples) % size))
    out: list[AudioFrame] = []
    for start in range(0, len(samples), size):
        frame = AudioFrame.from_ndarray(samples[None, start : start + size], encoder.format.name, "mono")
        frame.sample_rate, frame.pts, frame.time_base = codec.rate, start, encoder.time_base
        for packet in encoder.encode(frame):
            out += decoder.decode(packet)
    for packet in encoder.encode(None):
        out += decoder.decode(packet)
    return out + decoder.decode(None)
