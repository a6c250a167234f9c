"""WebRTC's detector on synthetic and real signals."""

from __future__ import annotations

import numpy as np
import webrtcvad

from streamer.config import SegmentConfig
from streamer.timebase import FRAME, SAMPLE_RATE
from streamer.vad.segmenter import Segmenter, Stopped
from streamer.vad.webrtc import WebrtcVad
from tests.vad.signals import decisions, recording, vowels


def test_digital_silence_is_not_speech() -> None:
    assert not any(decisions(WebrtcVad(2), np.zeros(SAMPLE_RATE, np.float32)))


def test_vowels_are_speech_and_silence_around_them_is_not() -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    flags = decisions(WebrtcVad(2), np.concatenate([silence, vowels(2.0), silence]))
    assert not any(flags[:50])
    assert sum(flags[50:150]) > 80
    assert not any(flags[-25:])


def test_samples_out_of_range_and_nan_do_no_harm() -> None:
    vad = WebrtcVad(2)
    for value in (7.0, -7.0, np.nan, np.inf):
        vad.is_speech(np.full(FRAME, value, np.float32))


def test_every_frame_is_judged_as_whole_numbers_in_range() -> None:
    rng = np.random.default_rng(0)
    vad, library = WebrtcVad(2), webrtcvad.Vad(2)
    for number in range(300):
        frame = rng.normal(0, 10.0 ** rng.uniform(-5, 2), FRAME).astype(np.float32)
        if number % 3 == 0:
            frame[rng.integers(FRAME, size=3)] = rng.choice([np.nan, np.inf, -np.inf, 1e30], 3)
        pcm = (np.clip(np.nan_to_num(frame), -1.0, 1.0) * 32767.0).astype(np.int16)
        assert vad.is_speech(frame) == library.is_speech(pcm.tobytes(), SAMPLE_RATE)


def test_reset_forgets_everything() -> None:
    samples = np.concatenate([vowels(1.0), np.zeros(SAMPLE_RATE // 2, np.float32)])
    vad = WebrtcVad(1)
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    decisions(vad, noise)
    vad.reset()
    assert decisions(vad, samples) == decisions(WebrtcVad(1), samples)


def test_a_real_recording_becomes_utterances_that_hold_its_energy() -> None:
    speech = recording("jfk/jfk.flac")
    silence = np.zeros(SAMPLE_RATE, np.float32)
    samples = np.concatenate([silence, speech, silence])
    segmenter, vad, stopped = Segmenter(SegmentConfig()), WebrtcVad(2), []
    frames = samples[: samples.size // FRAME * FRAME].reshape(-1, FRAME)
    for frame in frames:
        stopped += segmenter.push(vad.is_speech(frame), float(np.mean(frame**2)))
    stopped += segmenter.flush()
    inside = sum(float(np.sum(samples[b.start : b.end] ** 2)) for b in stopped if isinstance(b, Stopped))
    assert inside > 0.97 * float(np.sum(samples**2))
