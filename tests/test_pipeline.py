"""The threads put together, over a small random model: nothing lost, whatever the blocks and the load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streamer import pipeline
from streamer.audio.ring import Ring
from streamer.audio.source import Report, StateChange
from streamer.backends.torch import WhisperNetwork
from streamer.bus import Bus
from streamer.config import Config, GuardsConfig, ModelConfig
from streamer.engine import Engine, Request, Result
from streamer.errors import ConfigError, ModelError, ProtocolError, StreamerError
from streamer.events import Event, SourceState
from streamer.labels import Label
from streamer.nn.checkpoint import load as load_model
from streamer.nn.definition import HeadInfo, TagsInfo
from streamer.nn.head_checkpoint import encoder_info, save_head
from streamer.nn.heads import make_head
from streamer.pipeline import Pipeline
from streamer.resources import presets
from streamer.settings import load as load_settings
from tests.cli.tiny import make_model
from tests.tiny import tiny_model, tiny_tokenizer

RATE = 16_000


def babble(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """Something that voice activity detectors take for speech: a buzz through moving formants."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * t)) / RATE
    buzz = sum(np.sin(k * pitch) / k for k in range(1, 30))
    formant = sum(
        np.sin(2 * np.pi * np.cumsum(f + 0.3 * f * np.sin(2 * np.pi * r * t)) / RATE)
        for f, r in ((500, 3), (1500, 2))
    )
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * t)
    return (0.15 * buzz * (1 + 0.5 * formant) * syllables + 0.002 * rng.standard_normal(len(t))).astype(
        np.float32
    )


def conversation() -> NDArray[np.float32]:
    """Quiet, speech, quiet noise, longer speech, a tone, digital silence."""
    rng = np.random.default_rng(1)
    quiet = (0.002 * rng.standard_normal(3 * RATE)).astype(np.float32)
    tone = (0.3 * np.sin(np.arange(3 * RATE) * 0.5)).astype(np.float32)
    return np.concatenate(
        [
            quiet[:RATE],
            babble(2.3),
            quiet,
            babble(4.1, 2),
            quiet[: RATE + 77],
            tone,
            np.zeros(2 * RATE, np.float32),
        ]
    )


class Playback:
    """A source that writes given blocks, at a given speed, then ends."""

    def __init__(
        self, blocks: list[NDArray[np.float32]], name: str = "test", speed: float = 0.0, live: bool = False
    ) -> None:
        self.name, self.address, self.live = name, f"memory {name}", live
        self._blocks, self._speed = blocks, speed

    def run(self, ring: Ring, report: Report, stop: threading.Event) -> None:
        report(StateChange(SourceState.LIVE))
        due = time.monotonic()
        for block in self._blocks:
            if self._speed:
                due += len(block) / RATE / self._speed
                time.sleep(max(0.0, due - time.monotonic()))
            if stop.is_set() or not ring.write(block):
                break
        report(StateChange(SourceState.ENDED))


def cut(audio: NDArray[np.float32], sizes: Callable[[], int]) -> list[NDArray[np.float32]]:
    blocks, at = [], 0
    while at < len(audio):
        size = sizes()
        blocks.append(audio[at : at + size])
        at += size
    return blocks


def run(
    sources: list[Any], config: Config | None = None, engine: Engine | None = None, fast: bool = True
) -> tuple[list[Event], Pipeline]:
    """Everything that was published for these sources, what random weights make of speech included."""
    believing = {"guards": GuardsConfig(enabled=False)}
    bus = Bus(1000)
    events: list[Event] = []
    bus.add_sink(events.append)
    engine = engine or Engine(tiny_model(), tiny_tokenizer())
    pipeline = Pipeline((config or Config()).model_copy(update=believing), bus, engine, fast=fast)
    pipeline.start()
    for source in sources:
        pipeline.add(source)
    pipeline.wait()
    pipeline.stop()
    return events, pipeline


def essence(events: list[Event], types: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    """Events by type, without what may differ from run to run; types of two threads interleave."""
    exclude = {"seq", "time", "latency_ms"}
    return {
        name: [event.model_dump(exclude=exclude) for event in events if event.type == name] for name in types
    }


KEPT = (
    "speech.started",
    "speech.stopped",
    "transcript.final",
    "sound.tags",
    "sound.started",
    "sound.stopped",
)


@pytest.fixture(scope="module")
def reference() -> list[Event]:
    return run([Playback([conversation()])])[0]


def test_the_conversation_has_everything(reference: list[Event]) -> None:
    kinds = [event.type for event in reference]
    assert (
        kinds.count("speech.started") == kinds.count("speech.stopped") == kinds.count("transcript.final") >= 2
    )
    assert kinds.count("sound.tags") >= 8
    assert "transcript.partial" in kinds
    assert [e.state for e in reference if e.type == "stream.state"][-1] is SourceState.ENDED
    assert reference[-1].type == "stream.state"


def random_sizes() -> Callable[[], int]:
    rng = np.random.default_rng(5)
    return lambda: int(rng.integers(1, 9000))


@pytest.mark.parametrize(
    "sizes", [lambda: 16, lambda: 160, lambda: 512, random_sizes()], ids=["1ms", "10ms", "32ms", "random"]
)
def test_streamed_equals_offline(reference: list[Event], sizes: Callable[[], int]) -> None:
    events, _ = run([Playback(cut(conversation(), sizes))])
    wanted = (*KEPT, "transcript.partial", "level")
    assert essence(events, wanted) == essence(reference, wanted)


def test_real_time_equals_fast() -> None:
    """At its own speed, which the small model easily follows."""
    audio = conversation()[: 7 * RATE]
    fast, _ = run([Playback([audio])])
    events, pipeline = run([Playback(cut(audio, lambda: 320), speed=1.0, live=True)], fast=False)
    assert pipeline.stats()["test"].partials_replaced == 0
    assert essence(events, KEPT) == essence(fast, KEPT)


@pytest.mark.parametrize("decoder", ["ctc", "attention"])
def test_several_workers_say_of_each_stream_what_one_says_of_it_alone(decoder: str) -> None:
    """Streams of different lengths, so that what one worker runs changes all the time."""
    audio = conversation()
    streams = {f"stream {i}": audio[: (9 - i) * RATE] for i in range(4)}
    config = Config().model_copy(update={"model": ModelConfig(workers=3)})

    def engine() -> Engine:
        return Engine(tiny_model(), tiny_tokenizer(), decoder=decoder)

    together, pipeline = run([Playback([one], name) for name, one in streams.items()], config, engine())
    assert [name for name in pipeline._turns if name.startswith("inference")] == [
        "inference",
        "inference 2",
        "inference 3",
    ]
    wanted = (*KEPT, "transcript.partial")
    for name, one in streams.items():
        alone, _ = run([Playback([one], name)], engine=engine())
        of_stream = [event for event in together if getattr(event, "stream", None) == name]
        assert essence(of_stream, wanted) == essence(alone, wanted)


@pytest.mark.parametrize("batch", [1, 2])
def test_no_more_streams_share_a_pass_than_the_network_wants(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WhisperNetwork, "batch", batch)
    sizes, plain = [], Engine.run

    def counted(engine: Engine, requests: Sequence[Request]) -> list[Result]:
        sizes.append(len(requests))
        return plain(engine, requests)

    monkeypatch.setattr(Engine, "run", counted)
    run([Playback([conversation()[: 3 * RATE]], f"stream {i}") for i in range(4)])
    assert 1 <= max(sizes) <= batch


EVERYTHING = {
    "hotwords": ["zebra"],
    "prompt": "as before",
    "previous": True,
    "temperatures": [0.5, 1.0],
    "beam": 3,
    "replacements": {"a": "b"},
    "profanity": True,
    "personal": True,
}


@pytest.mark.parametrize("decoder", ["ctc", "attention"])
@pytest.mark.parametrize("text", [{}, EVERYTHING], ids=["plain", "everything"])
def test_an_utterance_costs_exactly_one_encoder_pass(decoder: str, text: dict[str, Any]) -> None:
    """Its words and its sounds come from the same encoding, whatever is done for the words."""
    config = Config.model_validate(
        {"live": {"partials": False}, "sounds": {"silence_db": 0.0, "window": 8.0}, "text": text}
    )
    audio = np.concatenate([babble(3.0), np.zeros(RATE, np.float32)])
    engine = Engine(tiny_model(decoder=decoder), tiny_tokenizer(), text=config.text)
    events, pipeline = run([Playback([audio])], config, engine)
    kinds = [event.type for event in events]
    assert kinds.count("transcript.final") == 1
    assert kinds.count("sound.tags") >= 1
    assert pipeline.stats()["test"].encoder_passes == engine.encoder_passes == 1


def test_digital_silence_costs_no_encoder_pass() -> None:
    engine = Engine(tiny_model(), tiny_tokenizer())
    run([Playback([np.zeros(10 * RATE, np.float32)])], engine=engine)
    assert engine.encoder_passes == 0


def test_stable_text_never_changes(reference: list[Event]) -> None:
    stable: dict[int, str] = {}
    for event in reference:
        if event.type in ("transcript.partial", "transcript.final"):
            assert event.text.startswith(stable.get(event.utterance, ""))
        if event.type == "transcript.partial":
            assert event.text.startswith(event.stable)
            stable[event.utterance] = event.stable


class Dictation(torch.nn.Module):
    """A CTC branch that hears the alphabet in every utterance, a letter and a space every 0.4 s."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*states.shape[:2], 257)
        logits[:, :, 0] = 5.0
        for frame in range(5, states.shape[1], 10):
            letter = ord(" ") if frame // 10 % 2 else ord("a") + frame // 20 % 26
            logits[:, frame, letter + 1] = 10.0
        return logits


class Once(torch.nn.Module):
    """A CTC branch that hears one letter at the beginning of an utterance."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*states.shape[:2], 257)
        logits[:, :, 0] = 5.0
        logits[:, 5, ord("a") + 1] = 10.0
        return logits


def test_a_partials_complete_text_ends_an_utterance_of_a_live_stream() -> None:
    engine = Engine(tiny_model(), tiny_tokenizer())
    engine._network._ctc = Once()  # type: ignore[attr-defined]
    config = Config.model_validate({"segment": {"hangover_ms": 1800, "complete_ms": 300}})
    audio = np.concatenate([babble(1.2), np.zeros(2 * RATE, np.float32)])
    events, _ = run([Playback(cut(audio, lambda: 320), speed=1.0, live=True)], config, engine, fast=False)
    assert [event.reason for event in events if event.type == "speech.stopped"] == ["complete"]


def test_a_monologue_is_cut_and_nothing_stable_is_taken_back() -> None:
    """Partials have heard far beyond the cut, which lies at the quietest point of the last seconds."""
    audio = babble(16.0)
    engine = Engine(tiny_model(), tiny_tokenizer())
    engine._network._ctc = Dictation()  # type: ignore[attr-defined]
    audio[12 * RATE : 12 * RATE + RATE // 5] *= (
        0.2  # the quietest point, not quiet enough to end an utterance
    )
    config = Config.model_validate({"segment": {"longest": 14.0}})
    events, _ = run([Playback([audio])], config, engine)
    reasons = [event.reason for event in events if event.type == "speech.stopped"]
    assert "max_length" in reasons
    test_stable_text_never_changes(events)
    finals = [event for event in events if event.type == "transcript.final"]
    assert len(finals) == len(reasons) >= 2
    partials = [event for event in events if event.type == "transcript.partial" and event.utterance == 1]
    assert partials[-1].end > finals[0].end + 0.5
    assert len(partials[-1].text) > len(finals[0].text) > len(partials[-1].stable) > 20
    assert (" ".join("abcdefghijklmnopqrstuvwxyz" * 2)).startswith(finals[0].text)


class SlowEngine(Engine):
    """An engine whose passes take `delay` seconds each."""

    delay = 0.0

    def run(self, requests: Any) -> list[Result]:
        time.sleep(self.delay * len(requests))
        return super().run(requests)


def test_overload_thins_out_partials_and_keeps_every_final(reference: list[Event]) -> None:
    """Passes cost twice the time there is for them at this speed."""
    speed = 4.0
    engine = SlowEngine(tiny_model(), tiny_tokenizer())
    engine.delay = 2 * 0.8 / speed / 2  # two streams ask for a pass every 0.8 s of their clocks
    blocks = cut(conversation(), lambda: 320)
    sources = [Playback(blocks, name, speed, live=True) for name in ("a", "b")]
    lags: list[float] = []
    config = Config()
    bus = Bus(1000)
    events: list[Event] = []
    bus.add_sink(events.append)
    pipeline = Pipeline(config, bus, engine)
    pipeline.start()
    for source in sources:
        pipeline.add(source)
    waiter = threading.Thread(target=pipeline.wait)
    waiter.start()
    while waiter.is_alive():
        lags += [stats.lag for stats in pipeline.stats().values()]
        time.sleep(0.05)
    stats = pipeline.stats()
    pipeline.stop()
    wanted = sum(event.type == "transcript.final" for event in reference)
    for name in ("a", "b"):
        mine = [event for event in events if event.stream == name]
        assert sum(event.type == "transcript.final" for event in mine) == wanted
        assert not any(event.type == "stream.gap" for event in mine)
        assert stats[name].lost == 0
    assert sum(s.partials_replaced + s.ambient_stretched for s in stats.values()) > 0
    assert 0 < max(lags) < 15


def test_a_gap_ends_the_utterance_and_the_clock_runs_on() -> None:
    class Interrupted(Playback):
        def run(self, ring: Ring, report: Report, stop: threading.Event) -> None:
            ring.write(babble(2.0))
            ring.gap(5 * RATE + 123, "interruption")
            ring.write(babble(2.0, 3))
            report(StateChange(SourceState.ENDED))

    events, _ = run([Interrupted([])])
    gap = next(event for event in events if event.type == "stream.gap")
    assert (gap.start, gap.end, gap.reason) == (2.0, round(7 + 123 / RATE, 3), "interruption")
    finals = [event for event in events if event.type == "transcript.final"]
    assert finals[0].end <= 2.02
    assert finals[-1].start >= 6.9
    assert finals[-1].end == pytest.approx(9.0, abs=0.05)


def test_pause_and_resume() -> None:
    bus = Bus(1000)
    events: list[Event] = []
    bus.add_sink(events.append)
    pipeline = Pipeline(Config(), bus, Engine(tiny_model(), tiny_tokenizer()))
    pipeline.start()
    pipeline.add(Playback(cut(babble(8.0), lambda: 320), speed=4.0, live=True))
    time.sleep(0.6)
    pipeline.pause("test")
    assert pipeline.states()["test"] is SourceState.PAUSED
    time.sleep(0.5)
    assert pipeline.stats()["test"].lag == 0, "nobody waits for what is not listened to"
    pipeline.resume("test")
    pipeline.wait()
    count = len(events)
    for ask in (pipeline.pause, pipeline.resume):
        with pytest.raises(ProtocolError, match="over"):
            ask("test")
    pipeline.stop()
    assert [event for event in events[count:] if event.type != "stats"] == []
    gap = next(event for event in events if event.type == "stream.gap")
    assert gap.reason == "paused"
    assert 1.0 < gap.end - gap.start < 4.0
    assert sum(event.type == "transcript.final" for event in events) == 2
    with pytest.raises(ProtocolError, match="no stream 'nobody'"):
        pipeline.pause("nobody")


def test_drain_gives_the_open_utterance_its_final() -> None:
    bus = Bus(1000)
    events: list[Event] = []
    bus.add_sink(events.append)
    pipeline = Pipeline(Config(), bus, Engine(tiny_model(), tiny_tokenizer()))
    pipeline.start()
    pipeline.add(Playback(cut(babble(30.0), lambda: 320), speed=1.0, live=True))
    time.sleep(1.2)
    began = time.monotonic()
    assert pipeline.drain(4.0)
    assert time.monotonic() - began < 3
    pipeline.stop()
    finals = [event for event in events if event.type == "transcript.final"]
    assert len(finals) == 1
    assert finals[0].end > 0.8
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name in ("listener", "inference") or name.startswith("source ") for name in names)


def test_sources_that_hang_take_nothing_from_the_others() -> None:
    release = threading.Event()

    class Mute(Playback):
        def run(self, ring: Ring, report: Report, stop: threading.Event) -> None:
            release.wait(20)

    bus = Bus(1000)
    events: list[Event] = []
    bus.add_sink(events.append)
    pipeline = Pipeline(Config(), bus, Engine(tiny_model(), tiny_tokenizer()))
    pipeline.start()
    for i in range(12):
        pipeline.add(Mute([], f"mute {i}", live=True))
    pipeline.add(Playback(cut(babble(30.0), lambda: 320), speed=1.0, live=True))
    time.sleep(1.2)
    try:
        began = time.monotonic()
        assert pipeline.drain(2.5)
        assert time.monotonic() - began < 2
    finally:
        release.set()
    pipeline.stop()
    assert sum(event.type == "transcript.final" for event in events) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"language": "de"}}, "model.language is 'de', but tiny knows en only"),
        ({"model": {"task": "translate"}}, "tiny is not multilingual"),
        ({"live": {"captions": False}, "sounds": {"enabled": False}}, "nothing to do"),
    ],
)
def test_what_the_model_cannot_do_is_refused_at_once(config: dict[str, Any], message: str) -> None:
    engine = Engine(tiny_model(), tiny_tokenizer())
    with pytest.raises(ConfigError, match=message):
        Pipeline(Config.model_validate(config), Bus(10), engine)


@pytest.mark.parametrize("preset", sorted(presets()))
def test_every_preset_says_what_it_is_for(preset: str) -> None:
    config = load_settings(preset).config
    events, _ = run([Playback([conversation()[: 6 * RATE]])], config, Engine(tiny_model(), tiny_tokenizer()))
    kinds = {event.type for event in events}
    assert "sound.tags" in kinds
    assert ("transcript.final" in kinds) == config.live.captions
    assert ("transcript.partial" in kinds) == (config.live.captions and config.live.partials)


def test_without_a_tag_head_there_are_words_and_no_lag() -> None:
    model = replace(tiny_model(), tags=None, labels=(), thresholds=())
    engine = Engine(model, tiny_tokenizer())
    config = Config.model_validate({"live": {"partials": False}})
    events, pipeline = run([Playback([conversation()])], config, engine)
    kinds = {event.type for event in events}
    assert "transcript.final" in kinds
    assert not {kind for kind in kinds if kind.startswith("sound.")}
    assert engine.encoder_passes == sum(event.type == "transcript.final" for event in events)
    assert pipeline.stats()["test"].lag == 0
    with pytest.raises(ConfigError, match="has no tag head"):
        Pipeline(Config.model_validate({"live": {"captions": False}}), Bus(10), engine)


def test_memory_is_given_back_once_nothing_is_to_be_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    engine = Engine(tiny_model(), tiny_tokenizer())
    monkeypatch.setattr(pipeline, "IDLE", 0.3)
    monkeypatch.setattr(pipeline, "give_back", lambda: given.append(engine.encoder_passes))
    audio = np.concatenate([babble(2.0), np.zeros(20 * RATE, np.float32)])
    run([Playback(cut(audio, lambda: 1600), speed=10.0, live=True)], engine=engine, fast=False)
    assert given == sorted(set(given))  # not again before something else was heard
    assert given[-1] == engine.encoder_passes


def test_a_slow_model_is_not_taken_for_dead() -> None:
    class Slow(SlowEngine):
        delay = 0.7

    pipeline = Pipeline(Config(), Bus(10), Slow(tiny_model(), tiny_tokenizer()))
    pipeline.start()
    pipeline.stop()
    pipeline._stopping.clear()
    for ago, dead in ((65.0, False), (600.0, True)):
        pipeline._turns["inference"] = time.monotonic() - ago
        pipeline._turns["listener"] = time.monotonic()
        assert (pipeline.problem() is not None) == dead


def test_a_dead_inference_thread_is_a_problem() -> None:
    class Broken(Engine):
        def run(self, requests: Any) -> list[Result]:
            if len(requests[0].samples) > 2 * RATE:
                raise RuntimeError("out of memory")
            return super().run(requests)

    bus = Bus(10)
    pipeline = Pipeline(Config(), bus, Broken(tiny_model(), tiny_tokenizer()))
    pipeline.start()
    pipeline.add(Playback([conversation()]))
    with pytest.raises(StreamerError, match="inference thread died: RuntimeError: out of memory"):
        pipeline.wait()
    assert "out of memory" in (pipeline.problem() or "")
    pipeline.stop()


def test_two_streams_of_one_name_are_refused() -> None:
    pipeline = Pipeline(Config(), Bus(10), Engine(tiny_model(), tiny_tokenizer()))
    pipeline.start()
    pipeline.add(Playback([np.zeros(100, np.float32)]))
    with pytest.raises(StreamerError, match="already"):
        pipeline.add(Playback([np.zeros(100, np.float32)]))
    pipeline.stop()


def test_the_settings_choose_the_tag_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMER_MODELS", str(tmp_path))
    make_model(tmp_path / "noise")
    whisper = load_model("noise").model
    dims, labels = whisper.dims, [Label("Knock", "/m/07r4wb8"), Label("Door creak")]
    head = make_head("wa-mlp", dims.n_audio_layer, dims.n_audio_state, len(labels))
    about = HeadInfo(name="door", encoder=encoder_info("noise", whisper), tags=TagsInfo(threshold=0.4))
    save_head(tmp_path / "door", about, head, labels)

    def built(tags: str) -> Pipeline:
        threads = torch.get_num_threads()
        config = Config.model_validate({"model": {"name": "noise", "tags": tags, "threads": threads}})
        return Pipeline.build(config, Bus(0))

    assert built("").model.labels == ["Dog", "Siren"]
    assert built("door").model.labels == ["Knock", "Door creak"]
    with pytest.raises(ModelError, match="Did you mean 'door'"):
        built("dor")
