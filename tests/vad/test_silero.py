"""Silero's detector: re-blocking, reset policy, and both runtimes on the same audio."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.timebase import FRAME, SAMPLE_RATE
from streamer.vad.silero import BLOCK, RESET_AFTER, OnnxNetwork, SileroVad, TorchNetwork, load_network
from tests.vad.signals import decisions, recording, vowels


class Recorder:
    """Stands where the network stands: keeps its blocks, answers 1 for a block with any sample above 0.5."""

    def __init__(self) -> None:
        self.blocks: list[NDArray[np.float32]] = []
        self.resets = 0

    def probability(self, block: NDArray[np.float32]) -> float:
        self.blocks.append(block.copy())
        return float(block.max() > 0.5)

    def reset(self) -> None:
        self.resets += 1


def test_blocks_are_the_frames_without_seams() -> None:
    network = Recorder()
    samples = np.random.default_rng(0).uniform(-0.4, 0.4, 50 * FRAME).astype(np.float32)
    decisions(SileroVad(0.5, network), samples)
    whole = samples[: samples.size // BLOCK * BLOCK]
    assert np.array_equal(np.concatenate(network.blocks), whole)


def test_a_frames_decision_is_the_newest_blocks() -> None:
    samples = np.zeros(8 * FRAME, np.float32)
    samples[600] = 1.0  # in the second block, samples 512 to 1023, complete with the fourth frame
    assert decisions(SileroVad(0.5, Recorder()), samples) == [i == 3 for i in range(8)]


def test_state_is_forgotten_in_long_silence_and_only_there() -> None:
    network = Recorder()
    vad = SileroVad(0.5, network)
    decisions(vad, np.ones(2 * RESET_AFTER, np.float32))
    assert network.resets == 0
    decisions(vad, np.zeros(2 * RESET_AFTER + 4 * BLOCK, np.float32))
    assert network.resets == 2


def test_reset_forgets_the_unfinished_block() -> None:
    network = Recorder()
    vad = SileroVad(0.5, network)
    decisions(vad, np.ones(4 * FRAME, np.float32))
    vad.reset()
    assert network.resets == 1
    network.blocks.clear()
    assert decisions(vad, np.zeros(2 * FRAME, np.float32)) == [False, False]
    assert not network.blocks[0].any()


@pytest.fixture(scope="module")
def silence() -> NDArray[np.float32]:
    return np.zeros(SAMPLE_RATE, np.float32)


def test_the_real_network_hears_no_speech_in_silence_and_noise(silence: NDArray[np.float32]) -> None:
    pytest.importorskip("silero_vad", reason="the silero extra is not installed")
    noise = np.random.default_rng(0).normal(0, 0.05, SAMPLE_RATE).astype(np.float32)
    assert not any(decisions(SileroVad(0.5), np.concatenate([silence, noise])))


def test_both_runtimes_agree() -> None:
    pytest.importorskip("silero_vad", reason="the silero extra is not installed")
    pytest.importorskip("onnxruntime")
    onnx, torch = load_network(), TorchNetwork()
    assert isinstance(onnx, OnnxNetwork)
    samples = vowels(3.0)
    for _ in range(2):  # the second time after a reset
        for block in samples[: samples.size // BLOCK * BLOCK].reshape(-1, BLOCK):
            assert onnx.probability(block) == pytest.approx(torch.probability(block), abs=1e-3)
        onnx.reset()
        torch.reset()


def test_a_real_voice_is_heard_after_minutes_of_noise(silence: NDArray[np.float32]) -> None:
    pytest.importorskip("silero_vad", reason="the silero extra is not installed")
    speech = recording("jfk/jfk.flac")
    fresh = sum(decisions(SileroVad(0.5), speech))
    assert fresh > 0.5 * speech.size / FRAME
    vad = SileroVad(0.5)
    noise = np.random.default_rng(1).normal(0, 0.01, 60 * SAMPLE_RATE).astype(np.float32)
    assert sum(decisions(vad, noise)) == 0
    assert sum(decisions(vad, speech)) > 0.9 * fresh
    assert not any(decisions(vad, np.concatenate([silence, silence]))[50:])


@pytest.mark.parametrize("network", ["load_network", "TorchNetwork"])
def test_torchs_thread_count_stays(network: str) -> None:
    pytest.importorskip("silero_vad", reason="the silero extra is not installed")
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import torch; torch.set_num_threads(2)\n"
        f"from streamer.vad.silero import {network}; {network}()\n"
        "assert torch.get_num_threads() == 2, torch.get_num_threads()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
