"""Every container, codec, rate and layout comes out as the same 16 kHz mono."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from streamer.audio.decode import AudioDecoder, Floats, Lost, decode_file, mix_weights
from streamer.errors import PermanentSourceError
from streamer.timebase import SAMPLE_RATE
from tests.audio.tools import correlation, encode, tone


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels"),
    [
        ("a.wav", "pcm_s16le", 44100, 2),
        ("a.wav", "pcm_f32le", 8000, 1),
        ("a.wav", "pcm_u8", 16000, 1),
        ("a.wav", "pcm_s24le", 48000, 6),
        ("a.mp3", "libmp3lame", 44100, 2),
        ("a.ogg", "libopus", 48000, 1),
        ("a.mp4", "aac", 48000, 2),
        ("a.flac", "flac", 22050, 1),
    ],
)
def test_containers_and_codecs(tmp_path: Path, name: str, codec: str, rate: int, channels: int) -> None:
    path = encode(tmp_path / name, tone(1.5, rate, channels=channels), rate, codec)
    samples = decode_file(path)
    expected = tone(1.5)[0]
    if channels == 6:  # the LFE has no share in the mix, and the other channels are alike
        assert mix_weights(["FL", "FR", "FC", "LFE", "SL", "SR"]) is not None
    assert samples.dtype == np.float32
    assert abs(len(samples) - len(expected)) <= 0.08 * SAMPLE_RATE
    assert correlation(samples, expected) > 0.99
    assert np.abs(samples).max() == pytest.approx(0.6, abs=0.05)


def test_stereo_does_not_get_louder_by_the_codec(tmp_path: Path) -> None:
    """swresample's own mix to mono would be 3 dB louder for float codecs than for integer ones."""
    loud = tone(1.0, channels=2) * 1.6
    peaks = [
        np.abs(decode_file(encode(tmp_path / f"{codec}.wav", loud, SAMPLE_RATE, codec))).max()
        for codec in ("pcm_s16le", "pcm_f32le")
    ]
    assert peaks == pytest.approx([0.96, 0.96], abs=0.01)


def test_damaged_packets_cost_their_length_only(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.flac", tone(3.0), SAMPLE_RATE, "flac")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = b"\x55" * 40
    path.write_bytes(data)
    samples = decode_file(path)
    assert len(samples) > 2.0 * SAMPLE_RATE
    assert np.isfinite(samples).all()


@pytest.mark.parametrize("codec", ["flac", "libopus"])
@pytest.mark.parametrize("seconds", [0.3, 100.0])
def test_what_is_collected_comes_out_as_it_would_have(tmp_path: Path, codec: str, seconds: float) -> None:
    path = encode(tmp_path / f"a.{'flac' if codec == 'flac' else 'ogg'}", tone(2.0, 48000), 48000, codec)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = b"\x55" * 40  # flac tells of it
    path.write_bytes(data)
    at_once, later = (decoded(path, AudioDecoder(wanted)) for wanted in (lambda: 0.0, lambda: seconds))
    assert [lost for lost in later if isinstance(lost, Lost)] == [
        lost for lost in at_once if isinstance(lost, Lost)
    ]
    assert len(later) < len(at_once)
    for expected, found in zip(between_losses(at_once), between_losses(later), strict=True):
        np.testing.assert_array_equal(found, expected)


def decoded(path: Path, decoder: AudioDecoder) -> list[Floats | Lost]:
    with av.open(str(path)) as container:
        pieces = [piece for packet in container.demux(audio=0) for piece in decoder.feed(packet)]
    return [*pieces, decoder.flush()]


def between_losses(pieces: list[Floats | Lost]) -> list[Floats]:
    runs: list[list[Floats]] = [[]]
    for piece in pieces:
        if isinstance(piece, Lost):
            runs.append([])
        else:
            runs[-1].append(piece)
    return [np.concatenate([np.zeros(0, np.float32), *run]) for run in runs]


def test_mix_weights_sum_to_one() -> None:
    assert mix_weights(["FL", "FR"]) is None
    weights = mix_weights(["FL", "FR", "FC", "LFE", "SL", "SR"])
    assert weights is not None
    assert sum(weights) == pytest.approx(1)
    assert weights[3] == 0


def test_errors_say_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(PermanentSourceError, match="found no file"):
        decode_file(tmp_path / "missing.wav")
    (tmp_path / "text.wav").write_text("nothing")
    with pytest.raises(PermanentSourceError, match=r"text\.wav"):
        decode_file(tmp_path / "text.wav")
    import av

    with av.open(str(tmp_path / "silent.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(PermanentSourceError, match="found only video"):
        decode_file(tmp_path / "silent.mkv")
