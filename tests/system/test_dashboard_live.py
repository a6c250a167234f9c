"""`streamer demo` watched in a real Chromium: what is said and heard in the sample appears on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamer.training.demo import SOUNDS
from tests.server.test_dashboard import CHROMIUM, FLAGS
from tests.system.daemon import Process, bundled, hears_sounds

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright drives the browser; it is not installed"
)
expect = sync_api.expect

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"the browser tests need {CHROMIUM}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def demo(browser: Any, model: Path) -> Iterator[tuple[Process, Any]]:
    """A daemon on the sample, in real time, and its page. A script's error fails the test."""
    faults: list[str] = []
    with Process("demo", model=model) as daemon:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(daemon.url)
        expect(page.get_by_test_id("connection")).to_have_text("Connected", timeout=10_000)
        yield daemon, page
        page.close()
        assert daemon.terminate()[0] == 0
    assert faults == []


def test_the_samples_words_appear(browser: Any) -> None:
    model = bundled()
    if model is None:
        pytest.skip("there is no bundled model, and a random one says nothing that could be expected")
    with demo(browser, model) as (daemon, page):
        # While it is being said, and then for good.
        expect(page.get_by_test_id("partial").locator(".text")).to_contain_text("good", timeout=20_000)
        text = page.get_by_test_id("final").locator(".text").first
        expect(text).to_contain_text("good morning", timeout=20_000)
        expect(page.get_by_test_id("partial")).to_have_count(0)
        final = daemon.of("transcript.final")[0]
        expect(text).to_have_text(final["text"])
        page.locator(".word", has_text="morning").first.hover()
        expect(page.get_by_test_id("tip")).to_contain_text(re.compile(r"morning.*0:0[23]\.\d.*% sure"))
        # The speaker begins 2 s into the recording.
        assert 1.5 < final["words"][0]["start"] < 3.5
        expect(page.get_by_test_id("tag-bar").first).to_be_visible()


def test_the_samples_sounds_appear(browser: Any) -> None:
    model = bundled()
    if model is None or not hears_sounds(model):
        pytest.skip("there is no bundled model whose definition says that it hears sounds")
    names = "|".join(re.escape(name.split(",")[0]) for _, _, name, _ in SOUNDS)
    with demo(browser, model) as (daemon, page):
        card = page.get_by_test_id("sound-card").filter(has_text=re.compile(names))
        expect(card.first).to_be_visible(timeout=25_000)
        assert daemon.of("sound.started")


def test_sounds_of_a_model_that_hears_dogs_everywhere_appear(browser: Any, tiny: Path) -> None:
    """All the way from the encoder to the page, whatever the bundled model can do."""
    with demo(browser, tiny) as (daemon, page):
        expect(page.get_by_test_id("sound-card").first).to_contain_text("Dog", timeout=15_000)
        expect(page.get_by_test_id("tag-bar").first).to_contain_text("Dog")
        expect(page.get_by_test_id("sound-cue").first).to_contain_text("Dog")
        assert daemon.of("sound.started")[0]["label"] == "Dog"
