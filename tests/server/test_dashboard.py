"""The dashboard in a real Chromium against the real server and bus.

Each test has its own streams' names, so that one page and one daemon serve them all.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from streamer.bus import Bus
from streamer.config import ServerConfig
from streamer.events import (
    Emotion,
    ErrorEvent,
    Level,
    SoundStarted,
    SoundStopped,
    SoundTags,
    SourceState,
    SpeechStarted,
    SpeechStopped,
    Stats,
    StreamGap,
    StreamState,
    Tag,
    TranscriptFinal,
    TranscriptPartial,
    Word,
)
from streamer.server.serve import Server
from tests.server.conftest import FakePipeline

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright drives the browser; it is not installed"
)
expect = sync_api.expect

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"the browser tests need {CHROMIUM}")

T = TypeVar("T")


class Pausable(FakePipeline):
    """A pipeline that tells of a pause as the real one does."""

    def pause(self, name: str) -> None:
        super().pause(name)
        self._state(name, SourceState.PAUSED)

    def resume(self, name: str) -> None:
        super().resume(name)
        self._state(name, SourceState.LIVE)

    def _state(self, name: str, state: SourceState) -> None:
        self.known[name] = state
        self.bus.publish(StreamState(stream=name, state=state, source="push"))


class Daemon:
    """A server on its own event loop's thread, which can go away and come back on the same port."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dashboard-daemon")
        self._thread.start()
        self.port = 0
        self.renew()
        self.up()

    def renew(self, history: int = 5000) -> None:
        """What a restart of the process means: another bus, other clocks."""
        self.bus = Bus(history)
        self.pipeline = Pausable(self.bus)
        self.pipeline.known = {}

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def up(self) -> None:
        async def start() -> int:
            self.server = Server(ServerConfig(port=self.port), self.pipeline, self.bus)
            return await self.server.start()

        self.port = self._do(start())

    def down(self) -> None:
        self._do(self.server.drain(1))

    def close(self) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def live(self, name: str) -> str:
        """A new live stream."""
        self.pipeline.known[name] = SourceState.LIVE
        self.bus.publish(StreamState(stream=name, state=SourceState.LIVE, source=f"file:{name}.wav"))
        return name


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    yield daemon
    daemon.close()


@pytest.fixture
def page(browser: Any, daemon: Daemon) -> Iterator[Any]:
    """The dashboard, connected. A script error or a blocked resource fails the test."""
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.set_default_timeout(5000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto(f"http://127.0.0.1:{daemon.port}/")
    expect(page.get_by_test_id("connection")).to_have_text("Connected")
    yield page
    page.close()
    # While the daemon is away a browser reports each refused attempt; nothing else may go wrong.
    assert [fault for fault in faults if "WebSocket connection" not in fault] == []


def final(
    stream: str, number: int, text: str, start: float = 1.0, probability: float = 0.9
) -> TranscriptFinal:
    words = text.split()
    step = 1.0 / max(1, len(words))
    return TranscriptFinal(
        stream=stream,
        utterance=number,
        start=start,
        end=start + 1,
        text=text,
        words=[
            Word(text=word, start=start + i * step, end=start + (i + 1) * step, probability=probability)
            for i, word in enumerate(words)
        ],
        language="en",
        avg_logprob=-0.2,
        no_speech_prob=0.01,
        latency_ms=210,
    )


def texts(page: Any, stream: str, hook: str = "final") -> list[str]:
    lines = page.locator(f'[data-testid="{hook}"][data-stream="{stream}"] .text')
    found: list[str] = lines.all_text_contents()
    return found


def test_words_grow_and_are_replaced_by_their_final(page: Any, daemon: Daemon) -> None:
    name, bus = daemon.live("kitchen"), daemon.bus
    partial = page.get_by_test_id("partial")
    bus.publish(SpeechStarted(stream=name, utterance=1, start=1))
    expect(partial).to_have_count(1)
    bus.publish(
        TranscriptPartial(stream=name, utterance=1, start=1, end=2, text="the quick brow", stable="the quick")
    )
    expect(partial.locator(".stable")).to_have_text("the quick")
    expect(partial.locator(".tail")).to_have_text(" brow")
    bus.publish(SpeechStopped(stream=name, utterance=1, start=1, end=2, reason="silence"))
    bus.publish(final(name, 1, "the quick brown fox"))
    expect(page.get_by_test_id("final").locator(".text")).to_have_text("the quick brown fox")
    expect(partial).to_have_count(0)

    page.locator(".word", has_text="brown").hover()
    expect(page.get_by_test_id("tip")).to_have_text("brown0:01.5 – 0:01.7 · 90% sure")

    bus.publish(SpeechStarted(stream=name, utterance=2, start=4))
    expect(partial).to_have_count(1)
    bus.publish(final(name, 2, ""))
    expect(partial).to_have_count(0)
    assert texts(page, name) == ["the quick brown fox"]


def test_how_something_was_said_stands_behind_it(page: Any, daemon: Daemon) -> None:
    name, bus = daemon.live("hall"), daemon.bus

    def emotion(number: int, label: str, scores: dict[str, float]) -> Emotion:
        kind: Any = "classes" if label else "dimensions"
        return Emotion(stream=name, start=0, end=2, utterance=number, label=label, kind=kind, scores=scores)

    bus.publish(final(name, 1, "the quick brown fox"))
    bus.publish(emotion(1, "joy", {"anger": 0.07, "joy": 0.93}))
    line = page.get_by_test_id("final")
    expect(line.get_by_test_id("emotion")).to_have_text("joy 93%")
    expect(line.locator(".text")).to_contain_text("the quick brown fox")
    # Without words the judgement has a line of its own, with every dimension's value.
    bus.publish(final(name, 2, ""))
    bus.publish(emotion(2, "", {"arousal": 0.61, "valence": 0.4}))
    judged = page.get_by_test_id("judged")
    expect(judged.get_by_test_id("emotion")).to_have_text("arousal 0.61 · valence 0.40")


def test_sounds_become_cards_cues_and_for_danger_a_banner(page: Any, daemon: Daemon) -> None:
    name, bus = daemon.live("hall"), daemon.bus
    label = "Smoke detector, smoke alarm"
    bus.publish(SoundStarted(stream=name, sound=1, label="Dog", id="/m/0bt9lr", start=1, score=0.6))
    bus.publish(SoundStopped(stream=name, sound=1, label="Dog", id="/m/0bt9lr", start=1, end=3.4, peak=0.8))
    bus.publish(SoundStarted(stream=name, sound=2, label=label, start=4, score=0.9))
    cards = page.get_by_test_id("sound-card")
    expect(cards).to_have_count(2)
    expect(cards.nth(0)).to_have_attribute("data-ongoing", "true")
    expect(cards.nth(1)).to_contain_text("Dog")
    expect(cards.nth(1)).to_contain_text("2.4 s")
    expect(cards.nth(1)).to_contain_text("80%")
    alert = page.get_by_test_id("alert")
    expect(alert.locator("strong")).to_have_text("Smoke detector")
    expect(page).to_have_title("Smoke detector · streamer")
    expect(page.get_by_test_id("sound-cue").locator(".text")).to_have_text(
        [re.compile(r"\[Dog\]"), re.compile("Smoke")]
    )
    expect(page.locator("#shout")).to_have_text("[Smoke detector]")
    bus.publish(SoundStopped(stream=name, sound=2, label=label, start=4, end=9, peak=0.95))
    expect(alert).to_have_attribute("data-ongoing", "false")
    expect(page).to_have_title("streamer")
    alert.get_by_role("button").click()
    expect(alert).to_have_count(0)

    tags = [Tag(label="Rain", score=0.4), Tag(label="Wind", score=0.7)]
    bus.publish(SoundTags(stream=name, start=5, end=9, tags=tags))
    bars = page.get_by_test_id("tag-bar")
    expect(bars).to_have_count(2)
    expect(bars.filter(has_text="Wind").locator(".bar-score")).to_have_text("70%")
    bus.publish(SoundTags(stream=name, start=5.8, end=9.8, tags=tags[:1]))
    expect(bars).to_have_count(1)


def painted(page: Any) -> int:
    """How many pixels of the first timeline have any colour."""
    pixels: int = page.evaluate(
        """() => {
            const canvas = document.querySelector("canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
            return count;
        }"""
    )
    return pixels


def test_the_timeline_the_meter_and_the_figures_follow_the_stream(page: Any, daemon: Daemon) -> None:
    name, bus = daemon.live("street"), daemon.bus
    expect(page.get_by_test_id("timeline")).to_be_visible()
    page.wait_for_timeout(100)
    before = painted(page)
    for tenth in range(100):
        start = tenth / 10
        bands = [-40 + (tenth + band) % 12 for band in range(32)]
        bus.publish(Level(stream=name, start=start, end=start + 0.1, rms_db=-30, peak_db=-20, bands=bands))
    bus.publish(StreamGap(stream=name, start=10, end=14, reason="interruption"))
    bus.publish(final(name, 1, "on one clock", start=5))
    page.wait_for_function("() => document.querySelector('.meter-fill').style.transform === 'scaleX(0.5)'")
    page.wait_for_timeout(100)
    assert painted(page) > before + 10_000
    bus.publish(
        Stats(uptime=5, streams=daemon.pipeline.stats(), clients=1, events_dropped=0, clients_disconnected=0)
    )
    expect(page.get_by_test_id("lag")).to_have_text("0.3 s")
    expect(page.get_by_test_id("passes")).to_have_text("1.3")
    box = page.get_by_test_id("timeline").bounding_box()
    page.locator("#in").click()
    expect(page.get_by_test_id("timeline-span")).to_have_text("30 s")
    page.mouse.move(box["x"] + 100, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 20)
    page.mouse.up()
    page.get_by_test_id("timeline-live").click()
    expect(page.get_by_test_id("timeline-live")).to_be_hidden()


def test_pause_and_resume_reach_the_pipeline(page: Any, daemon: Daemon) -> None:
    name = daemon.live("porch")
    button, badge = page.get_by_test_id("pause-button"), page.get_by_test_id("state-badge")
    button.click()
    expect(badge).to_have_text("paused")
    assert daemon.pipeline.paused == {name}
    expect(page.get_by_test_id("notice")).to_contain_text("Nothing is listening")
    expect(button).to_have_accessible_name("Resume porch")
    button.click()
    expect(badge).to_have_text("live")
    assert daemon.pipeline.paused == set()
    expect(page.get_by_test_id("notice")).to_be_hidden()


def test_states_are_shown_with_their_countdown(page: Any, daemon: Daemon) -> None:
    expect(page.get_by_test_id("notice")).to_contain_text("the daemon has no streams")
    name = daemon.live("cam")
    expect(page.get_by_test_id("notice")).to_be_hidden()
    daemon.bus.publish(
        StreamState(
            stream=name, state=SourceState.RECONNECTING, source="rtsp://cam/", detail="refused", retry_in=9
        )
    )
    expect(page.get_by_test_id("state-badge")).to_have_text("reconnecting")
    expect(page.get_by_test_id("state-detail")).to_have_text(re.compile("refused · next attempt in [89] s"))
    daemon.bus.publish(ErrorEvent(stream=name, code="source", message="no route to host"))
    expect(page.get_by_test_id("toast")).to_have_text("cam: no route to host")
    daemon.bus.publish(StreamState(stream=name, state=SourceState.FAILED, source="rtsp://cam/"))
    expect(page.get_by_test_id("notice")).to_contain_text("every stream has failed")
    expect(page.get_by_test_id("pause-button")).to_be_disabled()


def test_what_is_said_while_the_server_is_away_is_caught_up_with_once(page: Any, daemon: Daemon) -> None:
    name, bus = daemon.live("attic"), daemon.bus
    bus.publish(final(name, 1, "before", start=1))
    bus.publish(SpeechStarted(stream=name, utterance=2, start=3))
    expect(page.get_by_test_id("partial")).to_have_count(1)
    daemon.down()
    expect(page.get_by_test_id("connection")).to_have_text("Disconnected")
    expect(page.get_by_test_id("notice")).to_contain_text("is lost")
    bus.publish(final(name, 2, "meanwhile", start=3))
    bus.publish(SoundStarted(stream=name, sound=1, label="Knock", start=4, score=0.8))
    daemon.up()
    page.evaluate("() => window.dispatchEvent(new Event('online'))")  # else the backoff is waited for
    expect(page.get_by_test_id("connection")).to_have_text("Connected")
    bus.publish(final(name, 3, "after", start=6))
    expect(page.get_by_test_id("final")).to_have_count(3)
    assert texts(page, name) == ["before", "meanwhile", "after"]
    expect(page.get_by_test_id("sound-card")).to_have_count(1)
    expect(page.get_by_test_id("partial")).to_have_count(0)
    expect(page.get_by_test_id("divider")).to_have_count(0)
    expect(page.get_by_test_id("notice")).to_be_hidden()


def test_a_restarted_daemon_begins_anew_and_keeps_what_was_read(page: Any, daemon: Daemon) -> None:
    name = daemon.live("shed")
    daemon.bus.publish(final(name, 1, "old words"))
    expect(page.get_by_test_id("final")).to_have_count(1)
    daemon.down()
    daemon.renew()
    daemon.live(name)
    for number in range(1, 9):  # further than the old daemon had come: its number alone would hide these
        daemon.bus.publish(final(name, number, f"new {number}"))
    daemon.up()
    expect(page.get_by_test_id("final")).to_have_count(9)  # reconnects by itself
    assert texts(page, name) == ["old words", *(f"new {number}" for number in range(1, 9))]
    expect(page.get_by_test_id("divider")).to_have_count(1)
    expect(page.get_by_test_id("stream")).to_have_count(1)
    expect(page.get_by_test_id("toast")).to_have_count(0)


def test_a_model_that_is_still_loading_is_waited_for_calmly(page: Any, daemon: Daemon) -> None:
    daemon.pipeline.ready = False
    page.reload()
    expect(page.get_by_test_id("connection")).to_have_text("Waiting for the model")
    expect(page.get_by_test_id("captions-empty")).to_contain_text("loading its model")
    expect(page.get_by_test_id("notice")).to_be_hidden()
    daemon.pipeline.ready = True
    expect(page.get_by_test_id("connection")).to_have_text("Connected")


def test_many_streams_keep_their_past(page: Any, daemon: Daemon) -> None:
    names = [daemon.live(f"yard {number}") for number in range(20)]
    for name in names:
        daemon.bus.publish(Level(stream=name, start=0, end=0.1, rms_db=-20, peak_db=-10, bands=[-50]))
    expect(page.get_by_test_id("stream")).to_have_count(20)
    page.evaluate("() => { for (const one of document.querySelectorAll('.strip')) one.seen = true; }")
    daemon.bus.publish(
        Stats(
            uptime=1,
            streams=daemon.pipeline.stats(),
            clients=1,
            events_dropped=0,
            clients_disconnected=0,
        )
    )
    expect(page.get_by_test_id("lag").nth(19)).to_have_text("0.3 s")
    assert (
        page.evaluate("() => [...document.querySelectorAll('.strip')].filter((one) => one.seen).length") == 20
    )


def test_errors_from_before_the_page_was_opened_are_no_news(page: Any, daemon: Daemon) -> None:
    daemon.bus.publish(ErrorEvent(code="internal", message="it went wrong"))
    expect(page.get_by_test_id("toast")).to_have_text("it went wrong")
    name = daemon.live("after")
    page.reload()
    daemon.bus.publish(final(name, 1, "all is well"))
    expect(page.get_by_test_id("final").get_by_text("all is well")).to_be_visible()
    assert page.get_by_test_id("toast").count() == 0


def test_lost_history_is_said(browser: Any, page: Any, daemon: Daemon) -> None:
    daemon.down()
    daemon.renew(history=4)
    name = daemon.live("barn")
    daemon.up()
    expect(page.get_by_test_id("connection")).to_have_text("Connected")
    expect(page.get_by_test_id("notice")).to_be_hidden()
    daemon.down()
    for number in range(1, 30):
        daemon.bus.publish(final(name, number, f"words {number}"))
    daemon.up()
    page.evaluate("() => window.dispatchEvent(new Event('online'))")
    expect(page.get_by_test_id("notice")).to_contain_text("no longer remembers")
    expect(page.get_by_test_id("final")).to_have_count(4)
    expect(page.get_by_test_id("toast")).to_have_count(0)


def test_nothing_that_comes_from_outside_is_markup(page: Any, daemon: Daemon) -> None:
    evil = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>'
    name = daemon.live(evil)
    daemon.live("other")
    daemon.bus.publish(final(name, 1, evil))
    daemon.bus.publish(SoundStarted(stream=name, sound=1, label=evil, start=1, score=0.5))
    daemon.bus.publish(SoundTags(stream=name, start=0, end=4, tags=[Tag(label=evil, score=0.5)]))
    daemon.bus.publish(TranscriptPartial(stream=name, utterance=2, start=3, end=4, text=evil, stable="<img"))
    daemon.bus.publish(ErrorEvent(stream=name, code="x", message=evil))
    daemon.bus.publish(StreamState(stream=name, state=SourceState.STALLED, source=evil, detail=evil))
    expect(page.get_by_test_id("final").locator(".text")).to_have_text(evil)
    expect(page.get_by_test_id("partial").locator(".text")).to_have_text(evil)
    expect(page.get_by_test_id("sound-card").locator(".sound-label")).to_have_text(evil)
    expect(page.get_by_test_id("tag-bar").locator(".bar-label")).to_have_text(evil)
    expect(page.get_by_test_id("stream").first.locator(".name")).to_have_text(evil)
    expect(page.get_by_test_id("stream-picker")).to_contain_text(evil)
    expect(page.get_by_test_id("toast")).to_contain_text(evil)
    assert page.evaluate("() => document.querySelectorAll('img, body script').length") == 0
    assert page.evaluate("() => window.broken") is None


def test_one_of_several_streams_can_be_looked_at_alone(page: Any, daemon: Daemon) -> None:
    for name in ("left", "right"):
        daemon.live(name)
        daemon.bus.publish(final(name, 1, f"from the {name}"))
    expect(page.get_by_test_id("stream")).to_have_count(2)
    page.get_by_test_id("stream-picker").get_by_role("button", name="right").click()
    expect(page.locator('[data-testid="final"]:visible')).to_have_count(1)  # drawn in the next frame
    expect(page.locator('[data-testid="final"]:visible')).to_have_text(re.compile("from the right"))
    expect(page.locator('[data-testid="stream"]:visible')).to_have_count(1)


def test_a_hidden_page_asks_for_less_and_misses_no_final(page: Any, daemon: Daemon) -> None:
    name, bus = daemon.live("cellar"), daemon.bus
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(100)
    bus.publish(TranscriptPartial(stream=name, utterance=1, start=1, end=2, text="unseen", stable=""))
    bus.publish(final(name, 2, "kept"))
    expect(page.get_by_test_id("final")).to_have_count(1)
    expect(page.get_by_test_id("partial")).to_have_count(0)
    page.evaluate(hide, False)
    page.wait_for_timeout(100)
    bus.publish(TranscriptPartial(stream=name, utterance=3, start=3, end=4, text="seen", stable=""))
    expect(page.get_by_test_id("partial").locator(".text")).to_have_text("seen")
    assert texts(page, name) == ["kept"]


def test_the_page_stays_bounded_and_fits_a_phone(browser: Any, daemon: Daemon) -> None:
    name = daemon.live("phone")
    for number in range(300):
        daemon.bus.publish(final(name, number, f"line {number}", start=2.0 * number))
        daemon.bus.publish(
            SoundStarted(stream=name, sound=number, label="Dog", start=2.0 * number, score=0.5)
        )
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    page.goto(f"http://127.0.0.1:{daemon.port}/")
    expect(page.get_by_text("line 299", exact=True)).to_be_visible()
    assert page.locator("#captions > li").count() == 200
    assert page.get_by_test_id("sound-card").count() == 100
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    page.get_by_test_id("theme-toggle").click()
    expect(root).to_have_attribute("data-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")
    page.close()
