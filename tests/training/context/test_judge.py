"""What short contexts cost, by the engine's own account, and which margin is earned."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from streamer.asr.decode import DecodeOptions
from streamer.backends.base import context_for
from streamer.engine import Engine, Request
from streamer.nn.definition import ContextInfo
from streamer.timebase import FULL_CONTEXT, SAMPLE_RATE
from streamer.training.context.config import Limits
from streamer.training.context.distil import Spread
from streamer.training.context.judge import FULL, Apart, Heard, Listener, Row, compare, earned, judge, middles
from streamer.training.context.pieces import Known
from tests.tiny import tiny_tokenizer
from tests.training.context.recordings import stock
from tests.training.tones import tone

CLIPS = [tone(400, 1.3, 1), tone(900, 2.1, 2)]
SHORT = ContextInfo(short=True, margin=0.4, encoder="x")


def listener(writes: bool = True, nudge: float = 0.0, decoder: str = "ctc") -> Listener:
    model = stock(decoder)
    whisper = copy.deepcopy(model.model)
    with torch.no_grad():
        whisper.encoder.conv1.weight += nudge
    return Listener(model, whisper, tiny_tokenizer(), torch.float32, writes)


@pytest.mark.parametrize("decoder", ["ctc", "attention"])
@pytest.mark.parametrize("context", [FULL, SHORT])
def test_what_is_heard_is_the_engines(context: ContextInfo, decoder: str) -> None:
    model = stock(decoder)
    model = replace(model, info=model.info.model_copy(update={"context": context}))
    engine = Engine(model, tiny_tokenizer())
    for clip, heard in zip(CLIPS, listener(decoder=decoder).hear(CLIPS, context, "en"), strict=True):
        options = DecodeOptions("en", duration=len(clip) / SAMPLE_RATE)
        tokens = len(clip) // 6400
        (wanted,) = engine.run([Request(clip, options, windows=((0, tokens),))])
        assert wanted.decoded is not None
        assert heard.text == wanted.decoded.text
        np.testing.assert_allclose(heard.scores, wanted.scores[0], atol=1e-5)
        assert heard.known.states.shape == (len(clip) // 320, 64)
        assert heard.known.layers.shape == (2, tokens, 64)
        assert heard.context == context_for(len(clip), context.short, context.samples)


def test_rows_tell_before_from_after() -> None:
    rows = judge(listener(), listener(nudge=0.01), CLIPS, (0.0, 1.6), "en", progress=False)
    assert [row.margin for row in rows] == [0.0, 1.6, None]
    assert [row.context for row in rows] == [2.0, 3.6, 30.0]
    full = rows[-1]
    assert full.before == Apart(0.0, (0.0, 0.0), 0.0, 0.0)
    assert full.after.states > 0
    assert rows[0].before.states > 0
    assert rows[0].before.sounds is not None
    same = judge(listener(), listener(), CLIPS, (0.0,), "en", progress=False)
    assert all(row.before == row.after for row in same)
    mute = judge(listener(writes=False), listener(writes=False), CLIPS[:1], (0.0,), "en", progress=False)
    assert {row.after.texts for row in mute} == {None}


def heard(text: str, score: float, states: float = 0.0) -> Heard:
    known = Known(
        torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) + states, torch.zeros(2, 2, 4)
    )
    return Heard(known, text, np.array([0.1, score], np.float32), 1)


def test_texts_are_words_and_sounds_the_worst_of_each_recording() -> None:
    wanted = [heard("Good morning, all.", 0.5), heard("", 0.5)]
    spread = Spread.of(one.known for one in wanted)
    told = compare([heard("good MORNING all", 0.5), heard("", 0.3)], wanted, spread)
    assert (told.states, told.texts) == (0.0, 0.0)
    assert told.sounds == pytest.approx(0.1)
    told = compare([heard("good evening all", 0.5), heard("hello you", 0.5)], wanted, spread)
    assert told.texts == pytest.approx(100.0)  # one is another, two were not said
    told = compare([heard("x", 0.5)] * 2, [heard("", 0.5)] * 2, spread)
    assert told.texts is None
    assert compare([heard("", 0.5, 0.1)], wanted[1:], spread).states > 0


def row(margin: float | None, states: float, texts: float | None = 0.0, sounds: float | None = 0.0) -> Row:
    return Row(margin, 5.0, Apart(9, (), 99, 1), Apart(states, (), texts, sounds))


@pytest.mark.parametrize(
    ("rows", "margin"),
    [
        ([row(0.0, 0.05), row(0.8, 0.01), row(None, 0.0)], 0.0),
        ([row(0.0, 0.3), row(0.8, 0.05), row(1.6, 0.01), row(None, 0.0)], 0.8),
        ([row(0.0, 0.05, texts=4.0), row(0.8, 0.05), row(None, 0.0)], 0.8),
        ([row(0.0, 0.05, sounds=0.2), row(0.8, 0.05), row(None, 0.0)], 0.8),
        ([row(0.0, 0.05, None, 0.05), row(None, 0.0, None, 0.0)], 0.0),
        ([row(0.0, 0.0, None, None), row(None, 0.0, None, None)], None),  # nobody has read the states
        ([row(0.0, 0.3), row(0.8, 0.2), row(None, 0.0)], None),
        ([row(0.0, 0.05), row(None, 0.3)], None),  # it has forgotten its full context
    ],
)
def test_the_smallest_margin_within_all_limits_is_earned(rows: list[Row], margin: float | None) -> None:
    assert earned(rows, Limits(states=0.1, texts=3.0, sounds=0.1)) == margin


def test_long_recordings_leave_room_for_the_margin() -> None:
    long = np.arange(FULL_CONTEXT + 4000, dtype=np.float32)
    (short, cut) = middles([CLIPS[0], long], (0.0, 6.4))
    assert short is CLIPS[0] or len(short) == len(CLIPS[0])
    assert context_for(len(cut), True, int(6.4 * SAMPLE_RATE)) < FULL_CONTEXT
    assert abs((cut[0] - long[0]) - (long[-1] - cut[-1])) <= 1
