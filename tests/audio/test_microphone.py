"""The callback, its queue and the choice of a device; PortAudio itself only where it has a device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.audio import microphone
from streamer.audio.failures import StalledSourceError
from streamer.audio.microphone import Capture, Device, MicrophoneSource, find_device, pump, require_device
from streamer.audio.resample import Resampler
from streamer.audio.ring import Block, Gap, Ring
from streamer.audio.source import StateChange
from streamer.audio.supervise import Feed
from streamer.config import SourceConfig
from streamer.errors import PermanentSourceError, TransientSourceError

FINE = SimpleNamespace(input_overflow=False)
OVERFLOW = SimpleNamespace(input_overflow=True)
DEVICES = [
    Device(0, "HDA Intel: ALC257 (hw:0,0)", 2, 44100, True, "ALSA"),
    Device(3, "USB Audio: - (hw:1,0)", 1, 48000, False, "ALSA"),
    Device(4, "USB Camera: - (hw:2,0)", 1, 16000, False, "ALSA"),
]


def at(seconds: float) -> SimpleNamespace:
    return SimpleNamespace(inputBufferAdcTime=seconds)


def feed(stop: threading.Event | None = None) -> tuple[Feed, Ring, list[StateChange]]:
    ring, changes = Ring(160_000, live=True), []
    return Feed("mic", ring, changes.append, stop or threading.Event(), SourceConfig()), ring, changes


def pumped(capture: Capture, rate: int, channels: int) -> Ring:
    """What is in the queue, pumped into a ring until the device counts as gone."""
    to, ring, _ = feed()
    with pytest.raises(StalledSourceError):
        pump(capture, Resampler(rate, channels), to, age=0.05)
    return ring


def items(ring: Ring) -> list[Block | Gap]:
    found = []
    while isinstance(item := ring.read(1_000_000), Block | Gap):
        found.append(item)
    return found


def test_callback_copies() -> None:
    capture = Capture(16000)
    buffer = np.full((320, 1), 0.5, np.float32)
    capture(buffer, 320, at(1.0), FINE)
    buffer[:] = -1  # PortAudio uses its buffer again
    (block,) = items(pumped(capture, 16000, 1))
    assert isinstance(block, Block)
    assert block.samples.tolist() == [0.5] * 320


def test_blocks_use_the_same_memory_again() -> None:
    capture = Capture(16000, blocks=50)
    places = set()
    for index in range(40):
        capture(np.full((320, 2), index, np.float32), 320, at(index * 0.02), FINE)
        captured = capture.get(0)
        assert captured is not None
        assert np.all(captured.samples == index)
        places.add(captured.samples.ctypes.data)
    assert len(places) <= 2


def test_the_pump_is_woken_once_there_is_as_much_as_is_wanted() -> None:
    capture = Capture(16000)
    capture.wanted = lambda: 1000
    found: list[int] = []

    def get() -> None:
        captured = capture.get(20)
        found.append(0 if captured is None else len(captured.samples))

    thread = threading.Thread(target=get, name="test-pump")
    thread.start()
    for index in range(4):
        thread.join(0.05)
        assert not found
        capture(np.zeros((320, 1), np.float32), 320, at(index * 0.02), FINE)
    thread.join(5)
    assert found == [1280]


def test_what_is_wanted_comes_in_one_piece_but_for_losses() -> None:
    capture = Capture(16000)
    for index in range(6):
        status = OVERFLOW if index == 2 else FINE
        capture(np.full((320, 1), index, np.float32), 320, at(0.0), status)
    capture.wanted = lambda: 900
    pieces = []
    while (captured := capture.get(0)) is not None:
        pieces.append((captured.lost, captured.samples[::320, 0].tolist()))
    assert pieces == [(0, [0, 1]), (320, [2, 3, 4]), (0, [5])]


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_a_pump_whose_reader_rests_moves_everything(rate: int) -> None:
    capture, stop = Capture(rate), threading.Event()
    to, ring, _ = feed(stop)
    ring.rest(1600)
    thread = threading.Thread(target=pump, args=(capture, Resampler(rate), to), name="test-pump")
    thread.start()
    for index in range(50):
        capture(np.zeros((rate // 50, 1), np.float32), rate // 50, at(index * 0.02), FINE)
        time.sleep(0.001)
    while ring.position < 14400:  # what is left is less than 100 ms
        thread.join(0.01)
    ring.rest(1)
    capture(np.zeros((rate // 50, 1), np.float32), rate // 50, at(1.0), FINE)
    while ring.position < 16000:
        thread.join(0.01)
    stop.set()
    thread.join(2)
    assert not thread.is_alive()
    assert sum(len(item.samples) for item in items(ring) if isinstance(item, Block)) == ring.position


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 2000))
def test_every_sample_comes_in_order_or_is_counted(script: list[int], wanted: int) -> None:
    """0 reads what is wanted, another number is so many callbacks; the queue holds six blocks."""
    capture = Capture(16000, blocks=6)
    capture.wanted = lambda: wanted
    position, sent = 0, 0

    def read() -> bool:
        nonlocal position
        captured = capture.get(0)
        if captured is None:
            return False
        position += captured.lost
        assert captured.samples[:, 0].tolist() == list(range(position, position + len(captured.samples)))
        position += len(captured.samples)
        return True

    for callbacks in script:
        if callbacks == 0:
            read()
        for _ in range(callbacks):
            capture(np.arange(sent, sent + 320, dtype=np.float32)[:, None], 320, at(0.0), FINE)
            sent += 320
    while read():
        pass
    capture(np.arange(sent, sent + 320, dtype=np.float32)[:, None], 320, at(0.0), FINE)
    assert read()
    assert position == sent + 320


def test_native_rate_and_stereo_are_converted() -> None:
    capture = Capture(48000)
    for index in range(50):
        capture(np.full((960, 2), [0.2, 0.4], np.float32), 960, at(index * 0.02), FINE)
    (block,) = items(pumped(capture, 48000, 2))
    assert isinstance(block, Block)
    assert abs(len(block.samples) - 16000) < 50
    assert block.samples[1000:15000] == pytest.approx(0.3, abs=1e-4)


def test_overflow_of_the_device_is_a_gap_measured_by_its_clock() -> None:
    capture = Capture(16000)
    capture(np.full((320, 1), 0.1, np.float32), 320, at(5.00), FINE)
    capture(np.full((320, 1), 0.1, np.float32), 320, at(5.12), OVERFLOW)  # expected at 5.02
    capture(np.full((320, 1), 0.1, np.float32), 320, at(5.14), FINE)
    first, gap, rest = items(pumped(capture, 16000, 1))
    assert isinstance(first, Block)
    assert isinstance(rest, Block)
    assert gap == Gap(320, 1600, "device_overflow")
    assert len(rest.samples) == 640
    assert capture.overflows == 1


def test_overflow_on_a_device_without_a_clock_counts_a_block() -> None:
    capture = Capture(16000)
    capture(np.zeros((320, 1), np.float32), 320, at(0.0), FINE)
    capture(np.zeros((320, 1), np.float32), 320, at(0.0), OVERFLOW)
    assert items(pumped(capture, 16000, 1))[1] == Gap(320, 320, "device_overflow")


def test_overflow_of_the_queue_is_a_gap_of_exactly_what_was_dropped() -> None:
    capture = Capture(16000, blocks=3)
    for index in range(10):
        capture(np.full((320, 1), index / 10, np.float32), 320, at(index * 0.02), FINE)
    assert capture.overflows == 7
    assert capture.get(0.01) is not None  # room again
    capture(np.full((320, 1), 1.0, np.float32), 320, at(0.2), FINE)
    head, gap, tail = items(pumped(capture, 16000, 1))
    assert isinstance(head, Block)
    assert isinstance(tail, Block)
    assert len(head.samples) == 640
    assert gap == Gap(640, 7 * 320, "device_overflow")
    assert tail.samples.tolist() == [1.0] * 320


def test_an_old_callback_means_unplugged() -> None:
    to, _, _ = feed()
    began = time.monotonic()
    with pytest.raises(StalledSourceError, match="unplugged"):
        pump(Capture(16000), Resampler(16000), to, age=0.2)
    assert 0.2 <= time.monotonic() - began < 0.6


def test_stop_ends_the_pump() -> None:
    stop = threading.Event()
    to, _, _ = feed(stop)
    thread = threading.Thread(target=pump, args=(Capture(16000), Resampler(16000), to), name="test-pump")
    thread.start()
    stop.set()
    thread.join(1)
    assert not thread.is_alive()


def test_choosing_a_device() -> None:
    assert find_device(None, DEVICES).index == 0
    assert find_device("usb aud", DEVICES).index == 3
    with pytest.raises(PermanentSourceError, match=r"fits 'USB Audio.*, 'USB Camera"):
        find_device("usb", DEVICES)
    with pytest.raises(TransientSourceError, match=r"'Blue'; there is 'HDA Intel.*bin/streamer demo"):
        find_device("Blue", DEVICES)
    with pytest.raises(TransientSourceError, match=r"no microphone.*bin/streamer demo"):
        find_device(None, [])
    assert (
        find_device(
            "x", [DEVICES[0], Device(5, "x", 1, 8000, False, ""), Device(6, "x2", 1, 8000, False, "")]
        ).index
        == 5
    )


def test_missing_portaudio_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(PermanentSourceError, match="libportaudio2"):
        MicrophoneSource(None, "mic", SourceConfig())


def test_a_machine_without_microphones_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "list_devices", list)
    with pytest.raises(PermanentSourceError, match="bin/streamer demo"):
        require_device(None)


REAL = """
import json, sys, threading, time
import numpy as np
from streamer.audio.microphone import MicrophoneSource, find_device
from streamer.config import SourceConfig
from tests.audio.tools import Running

find_device("pulse")
config = SourceConfig(retry_first=0.3, retry_longest=0.3)
with Running(MicrophoneSource("pulse", "mic", config)) as running:
    running.wait(lambda: len(running.samples) > 12000, 15)
    print("heard", flush=True)
    running.wait(lambda: "reconnecting" in running.states, 15)
    print("gone", flush=True)
    heard = len(running.samples)
    running.wait(lambda: len(running.samples) > heard + 12000, 20)
tail = running.samples[-8000:]
frequency = float(np.argmax(np.abs(np.fft.rfft(tail))) * 2)
gaps = sum(gap.length for gap in running.gaps) / 16000
print(json.dumps({"states": running.states, "frequency": frequency, "gaps": gaps}), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("pulseaudio") is None, reason="PulseAudio, which plays the microphone, is missing"
)
def test_a_real_device_is_lost_and_comes_back(tmp_path: Path) -> None:
    """PortAudio over ALSA's pulse plugin, the sound server killed and started again: an unplugged device."""
    (tmp_path / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
    (tmp_path / "run").mkdir(mode=0o700)
    home = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "XDG_CONFIG_HOME": str(tmp_path)}
    environment = {**os.environ, **home, "PYTHONPATH": os.pathsep.join(sys.path)}
    server = [
        "pulseaudio",
        "-n",
        "--daemonize=no",
        "--exit-idle-time=-1",
        "-L",
        "module-native-protocol-unix",
    ]
    server += ["-L", "module-sine-source frequency=500 rate=48000"]

    def plug_in() -> subprocess.Popen[bytes]:
        (tmp_path / "run" / "pulse" / "pid").unlink(missing_ok=True)
        process = subprocess.Popen(
            server, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not (tmp_path / "run" / "pulse" / "native").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return process

    sound = plug_in()
    child = subprocess.Popen(
        [sys.executable, "-c", REAL],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stderr is not None
        first = child.stdout.readline()
        if not first:
            error = child.stderr.read()
            if "found no microphone" in error or "libportaudio2" in error:
                pytest.skip("ALSA's pulse plugin or PortAudio is missing")
            pytest.fail(error)
        assert first == "heard\n"
        sound.kill()
        sound.wait()
        (tmp_path / "run" / "pulse" / "native").unlink(missing_ok=True)
        assert child.stdout.readline() == "gone\n"
        sound = plug_in()
        out, error = child.communicate(timeout=30)
        assert child.returncode == 0, error
    finally:
        for process in (child, sound):
            process.kill()
            process.wait()
    result = json.loads(out)
    assert result["states"][:4] == ["connecting", "live", "stalled", "reconnecting"]
    assert result["states"][-1] == "live"
    assert result["frequency"] == pytest.approx(500, abs=4)
    assert 2 < result["gaps"] < 20
