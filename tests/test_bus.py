"""Numbers without holes, sinks in order, and no seam between what was missed and what is live."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable

import pytest

from streamer import bus as bus_module
from streamer.bus import Bus, Subscription
from streamer.events import ErrorEvent, Event, SoundStarted, TranscriptPartial
from streamer.history import Filter, Item

pytestmark = pytest.mark.anyio

EVERYTHING = Filter()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def firm(number: int = 0, stream: str = "a") -> SoundStarted:
    return SoundStarted(stream=stream, sound=number, label="Dog", start=0, score=1)


def loose(text: str = "", stream: str = "a") -> TranscriptPartial:
    return TranscriptPartial(stream=stream, utterance=1, start=0, end=1, text=text, stable="")


def in_threads(count: int, work: Callable[[int], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(n,), name=f"publisher-{n}") for n in range(count)]
    for thread in threads:
        thread.start()
    return threads


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def drain(subscription: Subscription) -> list[Event]:
    """Everything until nothing is left."""
    events: list[Event] = []
    while True:
        try:
            async with asyncio.timeout(0.05):
                events += [item.event for item in await subscription.take()]
        except TimeoutError:
            return events


def test_threads_get_numbers_without_holes_and_sinks_see_them_in_order() -> None:
    bus = Bus(10_000)
    seen: list[int] = []
    bus.add_sink(lambda event: seen.append(event.seq))
    mine: list[list[int]] = [[], [], [], []]

    def work(n: int) -> None:
        mine[n].extend(bus.publish(firm()).seq for _ in range(200))

    for thread in in_threads(4, work):
        thread.join()
    assert seen == list(range(1, 801))
    assert sorted(seq for numbers in mine for seq in numbers) == seen
    assert all(numbers == sorted(numbers) for numbers in mine)
    assert bus.last_seq == 800


def test_published_event_carries_number_and_time_and_the_original_is_untouched() -> None:
    event = firm()
    published = Bus(1).publish(event)
    assert (published.seq, event.seq) == (1, 0)
    assert published.time > 1e9


def test_a_sink_that_publishes_keeps_the_order_and_a_broken_one_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = Bus(10)
    seen: list[tuple[str, int]] = []

    def echo(event: Event) -> None:
        seen.append(("echo", event.seq))
        if event.stream == "a":
            bus.publish(firm(stream="b"))

    def broken(event: Event) -> None:
        raise ValueError("sink")

    def last(event: Event) -> None:
        seen.append(("last", event.seq))

    for sink in (echo, broken, last):
        bus.add_sink(sink)
    with caplog.at_level(logging.ERROR):
        bus.publish(firm())
    assert seen == [("echo", 1), ("last", 1), ("echo", 2), ("last", 2)]
    assert "A sink failed" in caplog.text
    bus.remove_sink(echo)
    bus.publish(firm())
    assert seen[4:] == [("last", 3)]


def test_without_a_loop_or_subscribers_nothing_piles_up() -> None:
    bus = Bus(5)
    for _ in range(100):
        bus.publish(firm())
        bus.publish(loose())
    assert len(bus._inbox) == 0
    assert len(bus._history) == 5
    assert bus.oldest_seq == 190


async def test_a_burst_wakes_the_loop_once() -> None:
    bus = Bus(100)
    loop = asyncio.get_running_loop()
    bus.connect(loop)
    subscription = bus.subscribe(EVERYTHING)
    wakes = 0
    pump = bus._pump

    def counted() -> None:
        nonlocal wakes
        wakes += 1
        pump()

    bus._pump = counted  # type: ignore[method-assign]
    for thread in in_threads(2, lambda _: [bus.publish(firm()) for _ in range(50)] and None):
        thread.join()  # the loop has no turn meanwhile
    assert len(await subscription.take()) == bus_module.BATCH
    assert wakes == 1


@pytest.mark.parametrize("queue", [16, 256])
async def test_no_hole_and_no_duplicate_where_the_past_meets_the_present(queue: int) -> None:
    """Readers leave and come back while threads publish; each must see every firm event once."""
    bus = Bus(10_000)
    bus.connect(asyncio.get_running_loop())
    firm_seqs: list[int] = []
    bus.add_sink(lambda event: None if event.droppable else firm_seqs.append(event.seq))
    running = True

    def work(n: int) -> None:
        for number in range(400):
            bus.publish(firm(number))
            bus.publish(loose())
            if number % 10 == n:
                threading.Event().wait(0.001)

    threads = in_threads(3, work)

    async def reader(first: int) -> list[int]:
        """Reads a bit, leaves, comes back with the last number it saw; also when it was thrown out."""
        seen: list[int] = []
        since = first
        while True:
            subscription = bus.subscribe(EVERYTHING, since=since, queue=queue)
            for _ in range(5):
                try:
                    async with asyncio.timeout(0.5 if running else 0.05):
                        items = await subscription.take()
                except TimeoutError:
                    subscription.close()
                    return seen
                if not items:
                    assert subscription.overflow.is_set()
                    break
                assert not any(isinstance(item.event, ErrorEvent) for item in items)
                seen += [item.seq for item in items if not item.droppable]
                since = max([since, *(item.seq for item in items)])
            subscription.close()
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(reader(0)) for _ in range(4)]
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    running = False
    for seen in await asyncio.gather(*tasks):
        assert seen == firm_seqs
    assert bus.clients == 0


async def test_what_history_has_lost_is_said() -> None:
    bus = Bus(3)
    bus.connect(asyncio.get_running_loop())
    for number in range(10):
        bus.publish(firm(number))
    assert bus.oldest_seq == 8
    complete = await drain(bus.subscribe(EVERYTHING, since=7))
    assert [event.seq for event in complete] == [8, 9, 10]
    error, *rest = await drain(bus.subscribe(EVERYTHING, since=2))
    assert isinstance(error, ErrorEvent)
    assert error.code == "history_lost"
    assert "3 to 7" in error.message
    assert "oldest_seq is 8" in error.message
    assert [event.seq for event in rest] == [8, 9, 10]


async def test_a_memory_of_nothing_still_says_so() -> None:
    bus = Bus(0)
    bus.connect(asyncio.get_running_loop())
    bus.publish(firm())
    assert [getattr(event, "code", "") for event in await drain(bus.subscribe(EVERYTHING, since=0))] == [
        "history_lost"
    ]
    assert await drain(bus.subscribe(EVERYTHING, since=1)) == []


@pytest.mark.parametrize(("since", "instance"), [(500, ""), (1, "another")])
async def test_a_number_of_an_earlier_run_brings_everything_and_an_error(since: int, instance: str) -> None:
    bus = Bus(10)
    bus.connect(asyncio.get_running_loop())
    bus.publish(firm())
    bus.publish(firm())
    subscription = bus.subscribe(EVERYTHING)
    subscription.select(EVERYTHING, since, instance)
    error, *rest = await drain(subscription)
    assert isinstance(error, ErrorEvent)
    assert error.code == "history_lost"
    assert [event.seq for event in rest] == [1, 2]


async def test_asking_for_the_past_later_repeats_nothing() -> None:
    bus = Bus(100)
    bus.connect(asyncio.get_running_loop())
    for number in range(4):
        bus.publish(firm(number, stream="ab"[number % 2]))  # 1 a, 2 b, 3 a, 4 b
    subscription = bus.subscribe(Filter(streams=frozenset("a")))
    bus.publish(firm(stream="a"))  # 5
    bus.publish(firm(stream="b"))  # 6
    assert [event.seq for event in await drain(subscription)] == [5]
    bus.publish(firm(stream="a"))  # 7, waits in the queue
    await asyncio.sleep(0)
    subscription.select(EVERYTHING, since=1)
    bus.publish(firm(stream="b"))  # 8
    assert [event.seq for event in await drain(subscription)] == [2, 3, 4, 6, 7, 8]


async def test_slow_reader_loses_partials_then_is_given_up() -> None:
    bus = Bus(100)
    bus.connect(asyncio.get_running_loop())
    slow, quick = bus.subscribe(EVERYTHING, queue=16), bus.subscribe(EVERYTHING, queue=100)
    for number in range(20):
        bus.publish(loose(str(number)))
    await asyncio.sleep(0.01)
    assert (bus.events_dropped, slow.dropped, len(slow)) == (4, 4, 16)
    for number in range(16):
        bus.publish(firm(number))
    await asyncio.sleep(0.01)
    assert bus.events_dropped == 20
    assert not slow.overflow.is_set()
    bus.publish(firm())
    await asyncio.sleep(0.01)
    assert slow.overflow.is_set()
    assert await slow.take() == []
    assert (bus.clients, bus.clients_disconnected, bus.events_dropped) == (1, 1, 20)
    assert [event.seq for event in await drain(quick)] == list(range(1, 38))


async def test_what_a_reader_takes_at_once_and_what_it_is_woken_for_are_one_sequence() -> None:
    bus = Bus(1000)
    bus.connect(asyncio.get_running_loop())
    subscription = bus.subscribe(Filter(streams=frozenset({"a"})))
    dice = random.Random(1)
    seen: list[int] = []
    taken_at_once: list[int] = []

    def at_once(items: list[Item]) -> int:
        assert subscription.idle
        count = dice.randint(0, len(items))
        seen.extend(item.seq for item in items[:count])
        taken_at_once.append(count)
        return count

    async def read() -> None:
        while items := await subscription.take():
            if dice.random() < 0.3:
                await asyncio.sleep(0)  # what comes now must not overtake what is in our hands
            seen.extend(item.seq for item in items)

    subscription.at_once = at_once
    reader = asyncio.create_task(read())
    wanted = []
    for _ in range(300):
        for _ in range(dice.randint(1, 4)):
            stream = dice.choice("aab")
            event: Event = firm(stream=stream) if dice.random() < 0.5 else loose(stream=stream)
            published = bus.publish(event)
            wanted += [published.seq] if stream == "a" else []
        await asyncio.sleep(0)
        if dice.random() < 0.2:
            subscription.tell(ErrorEvent(code="x", message="y"))
        if dice.random() < 0.2:
            await until(lambda: bus.idle)
    await until(lambda: bus.idle)
    subscription.close()
    await reader
    assert [seq for seq in seen if seq] == wanted
    assert max(taken_at_once) > 1
    assert 0 in taken_at_once
    assert bus.events_dropped == 0


async def test_a_loop_that_is_busy_for_long_costs_partials_but_no_final(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bus_module, "INBOX", 20)
    bus = Bus(1000)
    bus.connect(asyncio.get_running_loop())
    subscription = bus.subscribe(EVERYTHING)
    bus.publish(firm())
    assert len(await subscription.take()) == 1
    for number in range(100):  # no await: the loop is busy
        bus.publish(loose())
        bus.publish(firm(number))
    assert len(bus._inbox) == 20
    bus.publish(firm())
    events = await drain(subscription)
    assert [event.seq for event in events if not event.droppable] == [*range(3, 202, 2), 202]
    assert not any(isinstance(event, ErrorEvent) for event in events)
    assert bus.events_dropped > 0
    bus.publish(loose())
    assert [event.seq for event in await drain(subscription)] == [203]  # live again


async def test_closing_lets_what_waits_be_taken() -> None:
    bus = Bus(10)
    bus.connect(asyncio.get_running_loop())
    subscription = bus.subscribe(EVERYTHING)
    waiting = asyncio.create_task(subscription.take())
    await until(lambda: bus.idle)
    bus.publish(firm())
    assert not bus.idle
    assert [item.seq for item in await waiting] == [1]
    bus.publish(firm())
    await asyncio.sleep(0.01)
    bus.disconnect()
    assert [item.seq for item in await subscription.take()] == [2]
    assert await subscription.take() == []
    bus.publish(firm())  # nobody listens, nothing breaks
    assert bus.last_seq == 3


async def test_only_so_many_messages_wait_for_one_reader() -> None:
    bus = Bus(1)
    bus.connect(asyncio.get_running_loop())
    subscription = bus.subscribe(EVERYTHING)
    told = [subscription.tell(ErrorEvent(code="x", message="y")) for _ in range(bus_module.TOLD + 1)]
    assert told == [True] * bus_module.TOLD + [False]
