"""Every sample written is read exactly once and in order, or lies in a gap of exactly its length."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.audio import ring as ring_module
from streamer.audio.ring import OVERRUN, Block, End, Gap, Ring

operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 40)),
        st.tuples(st.just("gap"), st.integers(0, 30)),
        st.tuples(st.just("read"), st.integers(1, 25)),
    ),
    max_size=60,
)


class Reader:
    """Reads a ring and checks that nothing is skipped, repeated or reordered."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.position = 0
        self.overrun = 0
        self.samples: dict[int, float] = {}
        self.gaps: list[Gap] = []

    def read(self, limit: int) -> Block | Gap | End | None:
        item = self.ring.read(limit)
        if isinstance(item, Block):
            assert item.start == self.position
            assert 1 <= len(item.samples) <= limit
            assert item.samples.dtype == np.float32
            self.samples.update(enumerate(item.samples.tolist(), item.start))
            self.position += len(item.samples)
        elif isinstance(item, Gap):
            assert item.start == self.position
            assert item.length > 0
            self.gaps.append(item)
            self.position += item.length
            self.overrun += item.length if item.reason == OVERRUN else 0
        return item

    def drain(self) -> None:
        while not isinstance(self.read(7), End | None):
            pass


@given(operations, st.integers(1, 50))
@settings(max_examples=300, deadline=None)
def test_live_ring_accounts_for_every_sample(steps: list[tuple[str, int]], capacity: int) -> None:
    ring = Ring(capacity, live=True)
    reader = Reader(ring)
    written: dict[int, float] = {}
    silent = 0
    for kind, size in steps:
        if kind == "write":
            values = np.arange(ring.position + 1, ring.position + size + 1, dtype=np.float32)
            written.update(zip(range(ring.position, ring.position + size), values, strict=True))
            assert ring.write(values)
        elif kind == "gap":
            ring.gap(size, "interruption")
            silent += size
        else:
            reader.read(size)
        assert 0 <= ring.available <= capacity
    ring.close()
    reader.drain()
    assert isinstance(ring.read(1), End)
    assert reader.position == ring.position == len(written) + silent
    assert all(written[index] == value for index, value in reader.samples.items())
    assert len(written) == len(reader.samples) + ring.lost
    assert reader.overrun == ring.lost
    overruns = [gap for gap in reader.gaps if gap.reason == OVERRUN]
    lost = {i for gap in overruns for i in range(gap.start, gap.start + gap.length)}
    assert lost == set(written) - set(reader.samples)


def test_many_alternations_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_RUNS", 16)
    ring = Ring(1000, live=True)
    for index in range(300):
        ring.write(np.full(2, index, dtype=np.float32))
        ring.gap(1, f"reason {index % 3}")
    assert len(ring._runs) <= 16
    ring.close()
    reader = Reader(ring)
    reader.drain()
    assert reader.position == ring.position == 900
    assert len(reader.samples) + ring.lost == 600


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 30), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_patient_ring_loses_nothing(sizes: list[int], capacity: int, limit: int) -> None:
    woken = threading.Event()
    ring = Ring(capacity, live=False, wake=woken.set)
    reader = Reader(ring)

    def produce() -> None:
        for size in sizes:
            assert ring.write(np.arange(ring.position, ring.position + size, dtype=np.float32))
            ring.gap(size // 3, "interruption")
        ring.close()

    thread = threading.Thread(target=produce, name="test-writer")
    thread.start()
    while not isinstance(item := reader.read(limit), End):
        if item is None:
            assert woken.wait(5)
            woken.clear()
    thread.join(5)
    assert not thread.is_alive()
    assert ring.lost == 0
    assert len(reader.samples) == sum(sizes)
    assert all(index == value for index, value in reader.samples.items())


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_cancel_and_close_unblock_a_writer(how: str) -> None:
    ring = Ring(10, live=False)
    results: list[bool] = []
    thread = threading.Thread(
        target=lambda: results.append(ring.write(np.ones(11, np.float32))), name="test-writer"
    )
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    getattr(ring, how)()
    thread.join(2)
    assert results == [False]
    assert ring.write(np.ones(1, np.float32)) is False
    assert isinstance(ring.read(100), Block)


def test_wake_is_called_before_a_writer_waits() -> None:
    """One reader thread that only reads when woken must not starve a writer without room."""
    woken = threading.Event()
    ring = Ring(4, live=False, wake=woken.set)
    thread = threading.Thread(
        target=lambda: (ring.write(np.ones(10, np.float32)), ring.close()), name="test-writer"
    )
    thread.start()
    count = 0
    while True:
        assert woken.wait(2)
        woken.clear()
        item = ring.read(100)
        while isinstance(item, Block):
            count += len(item.samples)
            item = ring.read(100)
        if isinstance(item, End):
            break
    thread.join(2)
    assert count == 10


@given(
    st.lists(st.tuples(st.integers(1, 700), st.booleans()), max_size=30), st.sampled_from([1, 7, 320, 1600])
)
def test_a_resting_reader_is_woken_for_what_it_rests_for(writes: list[tuple[int, bool]], grid: int) -> None:
    """It reads whenever it is woken, and then has everything up to the newest multiple of the grid."""
    woken: list[bool] = []
    ring = Ring(100_000, live=True, wake=lambda: woken.append(True))
    ring.rest(grid)
    heard = 0

    def read_all() -> None:
        nonlocal heard
        while isinstance(item := ring.read(100), Block | Gap):
            heard = item.start + (len(item.samples) if isinstance(item, Block) else item.length)

    for length, is_gap in writes:
        before = ring.position
        assert 0 < ring.pace(20) <= max(20, grid)
        if is_gap:
            ring.gap(length, "test")
        else:
            ring.write(np.zeros(length, np.float32))
        due = is_gap or ring.position // grid > before // grid
        assert bool(woken) is ring.due is due
        if woken:
            read_all()
            woken.clear()
            assert not ring.due
        assert heard >= ring.position - ring.position % grid
    ring.close()
    assert woken
    assert ring.due
    read_all()
    assert heard == ring.position
    assert ring.due  # there is its end to be read


@pytest.mark.parametrize("why", ["rest", "cancel"])
def test_a_writer_that_collects_hears_of_a_reader_that_rests_no_more(why: str) -> None:
    ring = Ring(10_000, live=True)
    assert ring.pace(20) == 20
    assert ring.wait_roused(0)
    ring.rest(1600)
    ring.write(np.zeros(100, np.float32))
    assert ring.pace(20) == 1500
    assert not ring.wait_roused(0)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(ring.wait_roused(10)), name="test-writer")
    thread.start()
    if why == "rest":
        ring.rest(1)
    else:
        ring.cancel()
    thread.join(5)
    assert found == [True]


def test_blocks_are_copies() -> None:
    ring = Ring(8, live=True)
    source = np.ones(4, np.float32)
    ring.write(source)
    source[:] = 5
    block = ring.read(8)
    assert isinstance(block, Block)
    ring.write(np.full(8, 7, np.float32))
    assert block.samples.tolist() == [1, 1, 1, 1]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="capacity"):
        Ring(0, live=True)
    with pytest.raises(ValueError, match="negative"):
        Ring(1, live=True).gap(-1, "x")
    with pytest.raises(ValueError, match="limit"):
        Ring(1, live=True).read(0)
