"""The page in a real browser: a word is heard and seen by a click or a key, on a wide screen and on
a phone, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avsr.decoding.words import Word, join
from avsr.preprocessing.clip import FPS, SAMPLE_RATE
from avsr.preprocessing.media.mp4 import write_video
from avsr.recognisers.base import Recogniser
from avsr.transcribing.explain.page import explain
from avsr.transcribing.transcript import Segment, Transcript

WORDS = [
    Word("one", 0.2, 0.5, 0.9, 1.0),
    Word("two", 0.7, 0.9, 0.9, 0.0),
    Word("three", 1.4, 1.8, 0.2, 0.5),
]
SECONDS = 12


class Fake(Recogniser):
    name, sha256 = "fake", ""


@pytest.fixture(scope="module")
def browser(playwright: Any, chromium: str) -> Iterator[Any]:
    found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    yield found
    found.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of twelve seconds, of which words fill two."""
    folder = tmp_path_factory.mktemp("explain")
    film, rng = folder / "film.mp4", np.random.default_rng(0)
    pictures = [np.full((48, 64, 3), 4 * i % 256, np.uint8) for i in range(SECONDS * FPS)]
    sound = rng.normal(0, 0.1, SECONDS * SAMPLE_RATE).astype(np.float32)
    write_video(film, pictures, sound)
    segment = Segment(0.2, 1.8, join(WORDS), 0.6, None, 1.0, 1.0, WORDS)
    said = Transcript(str(film), "fake", float(SECONDS), [segment])
    explain(film, said, Fake(), folder / "film.html", "audio")
    return folder / "film.html"


@pytest.fixture(params=[(1200, 900), (390, 844)], ids=["wide", "phone"])
def page(browser: Any, written: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, opened anew; afterwards: nothing was fetched and no script failed."""
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height})
    found, troubles = context.new_page(), []
    found.on("pageerror", lambda error: troubles.append(str(error)))
    found.on("console", lambda message: troubles.append(message.text))
    found.on("request", lambda asked: troubles.append(asked.url[:80]) if _leaves(asked) else None)
    found.goto(written.as_uri())
    yield found
    context.close()
    assert troubles == []


def _leaves(asked: Any) -> bool:
    return not asked.url.startswith(("file:", "data:", "blob:"))


def wait_until(page: Any, condition: str) -> None:
    """Asks again and again: the page's own policy forbids what Playwright would wait with."""
    for _ in range(1200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"never: {condition}")


def test_a_click_on_a_word_plays_it_and_no_more(page: Any):
    page.get_by_role("button", name="two").click()
    wait_until(page, "player.paused && player.currentTime > 0.85")
    assert page.evaluate("player.currentTime") < SECONDS - 1  # it stops late where a page is slow
    panel = page.get_by_role("region", name="Chosen word")
    assert "two" in panel.inner_text()
    assert "0 % heard, 100 % lip-read" in panel.inner_text().replace("\u00a0", " ")


def test_the_keyboard_does_it_all(page: Any):
    for word in ("one", "two", "three", "three"):
        page.keyboard.press("ArrowRight")
        assert page.locator("#text").inner_text() == word
    page.keyboard.press("ArrowLeft")
    assert page.locator(".said[aria-current=true]").inner_text() == "two"
    page.keyboard.press("s")
    assert page.evaluate("player.playbackRate") == 0.5
    page.keyboard.press(" ")


def test_a_link_names_a_word_and_the_axis_leads_anywhere(page: Any):
    page.evaluate("location.hash = '#word-3'")
    wait_until(page, "document.getElementById('text').textContent === 'three'")
    page.evaluate("scroller.scrollTo(0, 0)")
    page.locator("#tracks").click(position={"x": 80, "y": 120})
    expected = page.evaluate("80 / data.scale")
    assert page.evaluate("player.currentTime") == pytest.approx(expected, abs=0.3)


def test_nothing_is_wider_than_the_screen_and_all_buttons_have_names(page: Any):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for button in page.get_by_role("button").all():
        assert button.inner_text().strip()
        assert button.bounding_box()["height"] >= 30
