"""The rule of what gives way, against a slow and obvious model of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.events import Event, Level, SoundStarted, SourceState, StreamState, TranscriptPartial
from streamer.history import EventQueue, Filter, History, Item


def firm(seq: int, stream: str = "a") -> Item:
    return Item(SoundStarted(seq=seq, stream=stream, sound=seq, label="Dog", start=0, score=1))


def loose(seq: int, stream: str = "a") -> Item:
    return Item(TranscriptPartial(seq=seq, stream=stream, utterance=1, start=0, end=1, text="", stable=""))


@settings(max_examples=200, deadline=None)
@given(limit=st.integers(1, 6), moves=st.lists(st.sampled_from("flt"), max_size=60))
def test_queue_gives_up_the_oldest_droppable_first_and_never_another(limit: int, moves: str) -> None:
    queue, model, dropped = EventQueue(limit), list[Item](), 0
    for seq, move in enumerate(moves, 1):
        if move == "t":
            assert queue.take(2) == model[:2]
            del model[:2]
            continue
        item = firm(seq) if move == "f" else loose(seq)
        accepted = queue.offer(item)
        if len(model) < limit:
            assert accepted
            model.append(item)
        elif waiting := [one for one in model if one.droppable]:
            assert accepted
            model.remove(waiting[0])
            model.append(item)
            dropped += 1
        else:
            assert accepted == item.droppable
            dropped += item.droppable
        assert len(queue) == len(model) <= limit
        assert queue.first_seq == (model[0].seq if model else None)
    assert queue.dropped == dropped
    assert queue.take(1000) == model


@settings(max_examples=100, deadline=None)
@given(limit=st.integers(0, 8), kinds=st.lists(st.booleans(), max_size=40), since=st.integers(0, 45))
def test_history_keeps_the_newest_that_may_not_be_dropped(limit: int, kinds: list[bool], since: int) -> None:
    history = History(limit)
    items = [firm(seq) if kind else loose(seq) for seq, kind in enumerate(kinds, 1)]
    for item in items:
        history.append(item)
    kept = [item for item in items if not item.droppable]
    expected = kept[len(kept) - min(limit, len(kept)) :]
    assert history.after(0, 1000) == expected
    assert history.after(since, 3) == [item for item in expected if item.seq > since][:3]
    lost = kept[: len(kept) - len(expected)]
    assert history.lost_upto == (lost[-1].seq if lost else 0)
    assert history.oldest_seq == history.lost_upto + 1


def test_filter() -> None:
    level: Event = Level(stream="a", start=0, end=0.1, rms_db=-20, peak_db=-10, bands=[])
    daemon: Event = StreamState(stream=None, state=SourceState.LIVE, source="x")
    assert not Filter().matches(level)
    assert Filter(types=frozenset({"level"})).matches(level)
    assert not Filter(streams=frozenset({"b"}), types=frozenset({"level"})).matches(level)
    assert Filter().matches(firm(1).event)
    assert not Filter(streams=frozenset({"b"})).matches(firm(1).event)
    assert Filter(streams=frozenset({"b"})).matches(daemon)


def test_json_is_made_once() -> None:
    item = firm(7)
    assert item.text is item.text
    assert '"seq":7' in item.text
