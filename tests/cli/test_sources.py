"""Which sources a daemon listens to."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from streamer.audio.ring import Block, Ring
from streamer.audio.source import StateChange
from streamer.cli.sources import BETWEEN_ROUNDS, Repeated, choose_sources
from streamer.config import Config, SourceConfig, StreamConfig
from streamer.errors import StreamerError
from streamer.events import SourceState
from streamer.timebase import SAMPLE_RATE
from tests.cli.tiny import make_wav


def test_flags_go_before_the_settings_streams(tmp_path: Path) -> None:
    a, b = make_wav(tmp_path / "a.wav", 0.1), make_wav(tmp_path / "b.wav", 0.1)
    config = Config(streams=[StreamConfig(source=str(a), name="yard"), StreamConfig(source=str(b))])
    assert [s.name for s in choose_sources(config, [])] == ["yard", "b.wav"]
    assert [s.name for s in choose_sources(config, [f"door={b}"])] == ["door"]


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    path = make_wav(tmp_path / "a.wav", 0.1)
    with pytest.raises(StreamerError, match=r"two sources are called 'a.wav'"):
        choose_sources(Config(), [str(path), str(path)])


def test_without_any_the_error_says_what_there_is_and_names_the_demo() -> None:
    from streamer.audio.microphone import list_devices

    try:
        if list_devices():
            pytest.skip("this machine has a microphone")
    except StreamerError:
        pass
    with pytest.raises(StreamerError, match=r"(?s)no source given.*streamer demo"):
        choose_sources(Config(), [])


def test_a_sample_is_repeated_on_one_clock_with_a_pause_between_rounds(tmp_path: Path) -> None:
    from streamer.audio.spec import open_source, parse_source

    spec = parse_source(str(make_wav(tmp_path / "a.wav", 0.5)))
    source = Repeated(lambda: open_source(spec, SourceConfig(), fast=True))
    ring, stop = Ring(10 * SAMPLE_RATE, live=False), threading.Event()
    changes: list[StateChange] = []
    thread = threading.Thread(target=source.run, args=(ring, changes.append, stop))
    thread.start()
    heard = 0
    try:
        while heard < (0.5 + BETWEEN_ROUNDS + 0.5) * SAMPLE_RATE:
            item = ring.read(SAMPLE_RATE)
            if isinstance(item, Block):
                assert item.start == heard
                heard += len(item.samples)
            else:
                threading.Event().wait(0.01)
    finally:
        stop.set()
        ring.cancel()
        thread.join(5)
    assert not thread.is_alive()
    assert [change.state for change in changes] == [SourceState.CONNECTING, SourceState.LIVE]


def test_a_sample_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    from streamer.audio.spec import open_source, parse_source

    broken = tmp_path / "a.wav"
    broken.write_bytes(b"nothing of the kind")
    spec = parse_source(str(broken))
    changes: list[StateChange] = []
    source = Repeated(lambda: open_source(spec, SourceConfig()))
    source.run(Ring(SAMPLE_RATE, live=False), changes.append, threading.Event())
    assert [change.state for change in changes][-1] is SourceState.FAILED


def test_push_needs_no_microphone() -> None:
    assert choose_sources(Config(), ["push"]) == []


def test_push_in_the_settings() -> None:
    config = Config(streams=[StreamConfig(source="push")])
    assert choose_sources(config, ()) == []


def test_push_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"RIFF")
    assert [source.name for source in choose_sources(Config(), ["push", str(path)])] == ["talk.wav"]
