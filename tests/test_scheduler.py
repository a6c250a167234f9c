"""Which pass runs next, and which give way."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer.passes import Kind, Pass
from streamer.scheduler import LOSSLESS_WAITING, Scheduler


def make(**changes: object) -> Scheduler:
    options: dict = {"partial_patience": 1.0, "ambient_patience": 4.0, "backlog": 100_000, "max_batch": 1}
    return Scheduler(lambda p: len(p.samples) // 1000, **(options | changes))


def a_pass(kind: Kind, stream: str = "a", decided: float = 0.0, n: int = 16000, utterance: int = 0) -> Pass:
    samples = np.zeros(0 if kind in (Kind.SILENT, Kind.END) else n, np.float32)
    return Pass(stream, kind, 0, n, samples, decided, utterance)


def turn(scheduler: Scheduler) -> list[Pass]:
    """What the only worker does next."""
    batch = scheduler.next(0)
    scheduler.done(batch)
    return batch


def drain(scheduler: Scheduler) -> list[Pass]:
    out = []
    while batch := turn(scheduler):
        out += batch
    return out


def test_finals_come_first_and_oldest_first() -> None:
    s = make()
    late, early = a_pass(Kind.FINAL, "a", 2.0), a_pass(Kind.FINAL, "b", 1.0)
    for p in (a_pass(Kind.PARTIAL, "c", 0.0), late, early):
        s.submit(p)
    assert drain(s)[:2] == [early, late]


def test_a_newer_partial_replaces_the_waiting_one_and_is_counted() -> None:
    s = make()
    old, new = a_pass(Kind.PARTIAL, decided=0.0), a_pass(Kind.PARTIAL, decided=1.0)
    s.submit(old)
    s.submit(new)
    assert drain(s) == [new]
    assert s.counts("a") == (0, 1, 0)


def test_a_final_makes_the_partial_of_its_utterance_pointless() -> None:
    s = make()
    s.submit(a_pass(Kind.PARTIAL, utterance=1))
    s.submit(a_pass(Kind.FINAL, utterance=1))
    s.submit(a_pass(Kind.PARTIAL, utterance=2))
    assert [(p.kind, p.utterance) for p in drain(s)] == [(Kind.FINAL, 1), (Kind.PARTIAL, 2)]


def test_what_was_steady_is_heard_before_the_ambient_pass_behind_it() -> None:
    """Even where that takes the place of what only told the time, and has waited for longer."""
    for first in ([], [a_pass(Kind.STEADY, decided=0.0, n=0)]):
        s = make()
        steady, ambient = a_pass(Kind.STEADY, decided=0.8, n=32000), a_pass(Kind.AMBIENT, decided=0.8)
        for p in (*first, steady, ambient):
            s.submit(p)
        assert s.waiting == 2
        assert drain(s) == [steady, ambient]


def test_partials_thin_out_but_ambient_passes_do_not_starve() -> None:
    """Every turn brings a newer partial and a newer ambient pass; only one runs a turn."""
    s = make()
    ran = []
    for step in range(40):
        now = step * 0.8
        s.submit(a_pass(Kind.PARTIAL, "speaker", now))
        s.submit(a_pass(Kind.AMBIENT, "room", now))
        ran += turn(s)
    kinds = [p.kind for p in ran]
    assert kinds.count(Kind.AMBIENT) >= 40 * 0.8 / 4 - 2
    assert kinds.count(Kind.PARTIAL) > kinds.count(Kind.AMBIENT)


def test_silence_does_not_hide_a_waiting_ambient_pass() -> None:
    s = make()
    loud = a_pass(Kind.AMBIENT)
    s.submit(loud)
    s.submit(a_pass(Kind.SILENT, decided=1.0))
    assert s.counts("a") == (0, 0, 0), "nothing was left out"
    assert drain(s) == [loud]


def test_the_end_comes_after_everything_else_of_its_stream() -> None:
    s = make()
    end = a_pass(Kind.END)
    s.submit(end)
    for kind in (Kind.AMBIENT, Kind.PARTIAL, Kind.FINAL):
        s.submit(a_pass(kind, utterance=1 if kind is Kind.FINAL else 2))
    assert drain(s)[-1] is end


def test_an_end_comes_while_other_streams_are_too_much() -> None:
    s = make()
    s.submit(a_pass(Kind.END, "gone", 0.5))
    for step in range(3):
        s.submit(a_pass(Kind.PARTIAL, "busy", float(step)))
        if any(p.kind is Kind.END for p in turn(s)):
            return
        s.submit(a_pass(Kind.AMBIENT, "busy", float(step)))
    raise AssertionError("the end starved")


def test_a_final_does_not_wait_for_what_matters_less() -> None:
    """Where every pass has the full context, all of them would fit together."""
    s = make(max_batch=8)
    for kind, stream in ((Kind.AMBIENT, "a"), (Kind.FINAL, "a"), (Kind.PARTIAL, "b"), (Kind.FINAL, "c")):
        s.submit(a_pass(kind, stream))
    assert [sorted(p.kind for p in turn(s)) for _ in range(2)] == [
        [Kind.FINAL, Kind.FINAL],
        [Kind.PARTIAL, Kind.AMBIENT],
    ]


def test_passes_of_one_context_share_a_batch() -> None:
    s = make(max_batch=3)
    for stream, n in (("a", 4000), ("b", 9000), ("c", 4500), ("d", 4100), ("e", 4200)):
        s.submit(a_pass(Kind.AMBIENT, stream, n=n))
    batch = turn(s)
    assert [p.stream for p in batch] == ["a", "c", "d"]


def test_backlog_takes_the_room_and_gives_it_back() -> None:
    s = make(backlog=20_000)
    s.submit(a_pass(Kind.FINAL))
    assert s.has_room("a")
    s.submit(a_pass(Kind.FINAL, utterance=2))
    assert not s.has_room("a")
    assert s.has_room("b")
    turn(s)
    assert s.has_room("a")


def test_lossless_keeps_every_pass_in_order() -> None:
    s = make(lossless=True)
    kinds = [
        Kind.PARTIAL,
        Kind.PARTIAL,
        Kind.FINAL,
        Kind.AMBIENT,
        Kind.SILENT,
        Kind.AMBIENT,
        Kind.PARTIAL,
        Kind.END,
    ]
    submitted = [a_pass(kind, decided=i) for i, kind in enumerate(kinds)]
    for p in submitted:
        assert s.has_room("a")
        s.submit(p)
    assert len(kinds) == LOSSLESS_WAITING
    assert not s.has_room("a")
    assert drain(s) == submitted


@given(
    st.lists(
        st.tuples(st.sampled_from([Kind.FINAL, Kind.PARTIAL, Kind.AMBIENT]), st.sampled_from("abc")),
        max_size=60,
    ),
    st.integers(1, 4),
    st.data(),
)
def test_every_final_runs_once_whatever_else_happens(
    wanted: list[tuple[Kind, str]], max_batch: int, data: st.DataObject
) -> None:
    s = make(max_batch=max_batch, backlog=10**9)
    finals, ran = [], []
    for i, (kind, stream) in enumerate(wanted):
        p = a_pass(kind, stream, decided=float(i), utterance=i)
        s.submit(p)
        if kind is Kind.FINAL:
            finals.append(p)
        if data.draw(st.booleans()):
            ran += turn(s)
    ran += drain(s)
    done = [p for p in ran if p.kind is Kind.FINAL]
    assert sorted(map(id, done)) == sorted(map(id, finals))
    for stream in "abc":
        mine = [p.utterance for p in done if p.stream == stream]
        assert mine == sorted(mine)
    assert s.waiting == 0


def test_two_workers_share_what_could_be_one_batch() -> None:
    s = make(max_batch=8, workers=2)
    for stream in "abcde":
        s.submit(a_pass(Kind.PARTIAL, stream))
    batches = [s.next(0), s.next(0), s.next(0)]
    assert sorted(p.stream for batch in batches for p in batch) == list("abcde")
    assert [len(batch) for batch in batches] == [3, 1, 1]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Kind)), max_size=30), st.data())
def test_no_stream_is_with_two_workers_at_once_and_nothing_final_is_lost(
    asked: list[tuple[str, Kind]], data: st.DataObject
) -> None:
    s = make(max_batch=4, workers=3)
    running: list[list[Pass]] = []
    finals: list[tuple[str, float]] = []

    def take() -> None:
        if batch := s.next(0):
            busy = {p.stream for other in running for p in other}
            assert busy.isdisjoint(p.stream for p in batch)
            running.append(batch)
            finals.extend((p.stream, p.decided) for p in batch if p.kind is Kind.FINAL)

    for now, (stream, kind) in enumerate(asked):
        s.submit(a_pass(kind, stream, float(now), utterance=now))
        for _ in range(data.draw(st.integers(0, 2))):
            take()
        if running and data.draw(st.booleans()):
            s.done(running.pop(data.draw(st.integers(0, len(running) - 1))))
    while running or s.waiting:
        while running:
            s.done(running.pop())
        take()
    wanted = [(stream, float(now)) for now, (stream, kind) in enumerate(asked) if kind is Kind.FINAL]
    for stream in "abc":
        assert [f for f in finals if f[0] == stream] == [w for w in wanted if w[0] == stream]
