"""The HTML report in a real browser: on a desk and on a phone, by day and by night, with script and
without."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import PROGRAMS, Browser
from sample_results import full_results, make_clip, make_examples, small_results

from avsr.eval.metrics.worst import Example
from avsr.eval.report.page import to_html

DESK, PHONE, SMALL_PHONE = 1280, 390, 360
EVIL = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"

# Contrast of every text with what lies behind it (WCAG 2.1, success criterion 1.4.3).
CONTRAST = """(() => {
  const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) =>
    .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parts(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const e of document.querySelectorAll("body *")) {
    if (["SCRIPT", "title"].includes(e.tagName)) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(e);
    const svg = e.closest("svg");
    const [a, b] = [light(parts(svg ? style.fill : style.color)), light(behind(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) faint.push(`${e.tagName} ${e.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return faint;
})()"""

# What can be seen: laid out, not empty, and within the page or a container that scrolls.
SEEN = """(() => {
  const seen = (e) => {
    const r = e.getBoundingClientRect();
    return r.width > 40 && r.height > 20;
  };
  const shown = ["table.matrix", "figure svg", ".pictures img", "table.rows", ".reliance .bar"];
  return Object.fromEntries(shown.map(
    (name) => [name, [...document.querySelectorAll(name)].map(seen)]));
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """Chromium; skips where absent, except in CI, where it must be there."""
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must install chromium")
        pytest.skip("needs Chromium or Chrome (Debian: apt-get install chromium)")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    evil = [Example(EVIL, EVIL, EVIL, f"{EVIL} {'long' * 60}", 3, make_clip())]
    long_name = full_results(model="a" * 200, data="/".join(["folder"] * 60))
    texts = {
        "full": to_html(full_results(), make_examples()),
        "clean": to_html(small_results()),
        "evil": to_html(long_name, evil),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.mark.parametrize(
    ("width", "scheme"),
    [(DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark"), (SMALL_PHONE, "light")],
)
def test_the_page_fits_and_complains_of_nothing(browser, pages, width, scheme):
    browser.open(pages["full"], width, scheme=scheme)
    assert browser.complaints() == []
    assert browser.requests() == [pages["full"].as_uri()]  # the page itself and nothing else
    assert browser.run("Math.max(innerWidth, document.documentElement.scrollWidth)") == width
    seen = browser.run(SEEN)
    assert all(all(places) and places for places in seen.values()), seen
    assert browser.run(
        "[...document.images].every((image) => image.complete && image.naturalWidth > 400)"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser, pages, scheme):
    browser.open(pages["full"], scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach((one) => one.open = true)")
    assert browser.run(CONTRAST) == []


def test_the_dark_scheme_is_dark(browser, pages):
    shades = {}
    for scheme in ("light", "dark"):
        browser.open(pages["full"], scheme=scheme)
        shades[scheme] = browser.run(
            "getComputedStyle(document.body).backgroundColor + getComputedStyle("
            "document.querySelector('.chart text')).fill"
        )
    assert shades["light"].startswith("rgb(255, 255, 255)")
    assert shades["dark"].startswith("rgb(20, 23, 27)")
    assert shades["light"].rpartition("rgb")[2] != shades["dark"].rpartition("rgb")[2]


@pytest.mark.parametrize("name", ["clean", "evil"])
@pytest.mark.parametrize("width", [DESK, SMALL_PHONE])
def test_small_and_hostile_pages_fit_too(browser, pages, name, width):
    browser.open(pages[name], width)
    assert browser.complaints() == []
    assert browser.run("Math.max(innerWidth, document.documentElement.scrollWidth)") == width
    assert browser.run("document.title") != "run"
    assert browser.run("document.scripts.length") == 1


def test_rows_sort_and_filter(browser, pages):
    browser.open(pages["full"])
    rates = (
        "[...document.querySelectorAll('table.rows tbody tr:not([hidden])')].map((line) => "
        "line.cells[3].textContent)"
    )
    browser.run("document.querySelectorAll('table.rows thead button')[3].click()")
    rising = browser.run(rates)
    figures = [float(rate) for rate in rising if rate != "n/a"]
    assert figures == sorted(figures)
    assert set(rising[len(figures) :]) == {"n/a"}  # last, whichever way
    browser.run("document.querySelectorAll('table.rows thead button')[3].click()")
    falling = [float(rate) for rate in browser.run(rates) if rate != "n/a"]
    assert falling == figures[::-1]
    assert (
        browser.run("document.querySelector('[aria-sort]').getAttribute('aria-sort')")
        == "descending"
    )
    browser.run(
        "(() => { const field = document.querySelector('.find input'); field.value = 'babble audio "
        "only';"
        " field.dispatchEvent(new Event('input')); })()"
    )
    assert len(browser.run(rates)) == 9
    assert browser.run("document.querySelector('.find [role=status]').textContent") == "9 of 425"


def test_the_table_is_there_without_script(browser, pages):
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(pages["full"], PHONE)
        assert browser.run("document.querySelectorAll('table.rows tbody tr').length") == 425
        assert browser.run("document.querySelectorAll('button').length") == 0
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
