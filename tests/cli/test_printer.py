"""Standard output from a thread of its own."""

from __future__ import annotations

import threading

from streamer.cli import printer as module
from streamer.cli.printer import Printer
from streamer.events import ErrorEvent, Event, Stats


def kept(number: int) -> Event:
    return ErrorEvent(seq=number, code="x", message="")


def droppable(number: int) -> Event:
    return Stats(seq=number, uptime=0, streams={}, clients=0, events_dropped=0, clients_disconnected=0)


def test_everything_is_written_in_order_before_close_returns() -> None:
    written: list[int] = []
    printer = Printer(lambda event: written.append(event.seq))
    for number in range(500):
        printer(kept(number))
    printer.close()
    assert written == list(range(500))


def test_a_reader_that_has_gone_is_told_once() -> None:
    closed = threading.Event()

    def write(event: Event) -> None:
        raise BrokenPipeError

    printer = Printer(write, closed.set)
    printer(kept(1))
    assert closed.wait(5)
    printer(kept(2))
    printer.close()


def test_a_reader_that_takes_nothing_loses_droppable_events_first_and_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(module, "ROOM", 4)
    blocked, written = threading.Event(), []

    def write(event: Event) -> None:
        blocked.wait(10)
        written.append(event.seq)

    printer = Printer(write, patience=0.05)
    for number in range(5):
        printer(kept(number))
        if number == 0:
            while printer._queue.qsize():
                threading.Event().wait(0.01)
    printer(droppable(5))
    assert printer.dropped == 1
    printer(kept(6))  # no room for as long as patience lasts
    printer(kept(7))  # given up: at once
    blocked.set()
    printer.close()
    assert written == [0, 1, 2, 3, 4]


def test_without_a_limit_to_patience_nothing_is_lost(monkeypatch) -> None:
    monkeypatch.setattr(module, "ROOM", 2)
    written: list[int] = []

    def write(event: Event) -> None:
        threading.Event().wait(0.002)
        written.append(event.seq)

    printer = Printer(write, patience=None)
    for number in range(50):
        printer(kept(number))
    printer.close()
    assert written == list(range(50))
