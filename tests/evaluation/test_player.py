from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from streamer.config import Config, GuardsConfig, LiveConfig, ModelConfig, SegmentConfig
from streamer.engine import Engine
from streamer.errors import ConfigError
from streamer.evaluation import player as module
from streamer.evaluation.asr import Samples
from streamer.evaluation.player import BLOCK, FastPlayer, RealPlayer, blocks
from streamer.evaluation.timeline import Seen, finals
from streamer.events import SpeechStarted, SpeechStopped, TranscriptFinal, TranscriptPartial
from streamer.timebase import SAMPLE_RATE
from tests.cli.tiny import speech_like
from tests.tiny import tiny_model, tiny_tokenizer

CONFIG = Config(
    model=ModelConfig(threads=1, precision="fp32"),
    live=LiveConfig(policy="off", step=0.4),
    guards=GuardsConfig(enabled=False),  # random weights are not sure of anything
)


def engine() -> Engine:
    return Engine(tiny_model(), tiny_tokenizer())


def spoken(*parts: float) -> Samples:
    """Silence and something like speech, by turns, seconds each."""
    pieces = [
        speech_like(part) if i % 2 else np.zeros(round(part * SAMPLE_RATE), np.float32)
        for i, part in enumerate(parts)
    ]
    return np.concatenate(pieces).astype(np.float32)


def boundaries(seen: list[Seen]) -> list[tuple[object, ...]]:
    kept = [one.event for one in seen if isinstance(one.event, SpeechStarted | SpeechStopped)]
    return [(one.type, one.utterance, one.start, getattr(one, "end", None)) for one in kept]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every pass costs the simulated clock what the list's only entry says."""
    cost = [0.0]
    ticks = itertools.count()
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(ticks) % 2 * cost[0]))
    return cost


def test_blocks_are_the_samples() -> None:
    samples = np.arange(3 * BLOCK + 7, dtype=np.float32)
    found = list(blocks(samples))
    np.testing.assert_array_equal(np.concatenate([one.samples for one in found]), samples)
    assert [one.start for one in found] == [0, BLOCK, 2 * BLOCK, 3 * BLOCK]


def test_the_simulation_says_what_the_daemon_says() -> None:
    samples = spoken(0.3, 0.9, 0.7, 0.6, 0.6)
    played = {}
    for kind in (RealPlayer, FastPlayer):
        with kind(CONFIG, engine()) as player:
            first = player.play(samples)
            played[kind] = first
            if kind is FastPlayer:  # a recording leaves nothing behind for the next
                assert boundaries(player.play(samples)) == boundaries(first)
    real, fast = played[RealPlayer], played[FastPlayer]
    assert len(boundaries(real)) == 4
    assert boundaries(real) == boundaries(fast)
    assert [final.text for _, final in finals(real)] == [final.text for _, final in finals(fast)]
    for one in (*real, *fast):
        if isinstance(one.event, SpeechStopped | TranscriptPartial | TranscriptFinal):
            assert one.at >= one.event.end  # nothing is known before it is heard


def test_a_fast_engine_costs_the_simulated_clock_nothing(clock: list[float]) -> None:
    with FastPlayer(CONFIG, engine()) as player:
        seen = player.play(spoken(0.3, 2.0, 1.0))
    partials = [one for one in seen if isinstance(one.event, TranscriptPartial)]
    assert len(partials) >= 4
    assert all(one.at == pytest.approx(one.event.end) for one in partials)  # type: ignore[attr-defined]
    (stop,) = [one.at for one in seen if isinstance(one.event, SpeechStopped)]
    assert [one.at for one, _ in finals(seen)] == [pytest.approx(stop)]


def test_a_slow_engine_is_late_and_replaces_partials_meanwhile(clock: list[float]) -> None:
    clock[0] = 1.0
    with FastPlayer(CONFIG, engine()) as player:
        seen = player.play(spoken(0.3, 3.0, 1.0))
    times = [one.at for one in seen if isinstance(one.event, TranscriptPartial | TranscriptFinal)]
    gaps = np.diff(times)
    assert (gaps >= 1.0 - 1e-9).all()  # one pass at a time
    partials = [one for one in seen if isinstance(one.event, TranscriptPartial)]
    # Each is of what was heard when the engine became free, not of what was asked for first.
    waited = [one.at - 1.0 - one.event.end for one in partials]  # type: ignore[attr-defined]
    assert all(0 <= late < CONFIG.live.step + 1e-9 for late in waited[1:])
    (stop,) = [one.at for one in seen if isinstance(one.event, SpeechStopped)]
    (one,) = [one for one, _ in finals(seen)]
    assert stop + 1.0 - 1e-9 <= one.at <= stop + 2.0 + 1e-9  # at worst behind a pass that had begun


def test_settings_that_cannot_be_followed_are_refused() -> None:
    config = CONFIG.model_copy(update={"model": ModelConfig(language="xx"), "segment": SegmentConfig()})
    for kind in (RealPlayer, FastPlayer):
        with pytest.raises(ConfigError, match=r"model\.language is 'xx'"):
            kind(config, engine())
