"""The HTML report: whole in itself, the same each time, with every figure, and no text of others as
markup."""

from __future__ import annotations

import base64
import configparser
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from sample_results import PATTERNS, full_results, make_clip, make_examples, row, small_results

from avsr.eval.metrics.results import Gain
from avsr.eval.metrics.worst import Example
from avsr.eval.report.examples import lip_strip, spectrogram
from avsr.eval.report.page import to_html
from avsr.eval.report.words import tally

ROOT = Path(__file__).resolve().parents[3]
VOID = {"meta", "link", "img", "input", "br"}
EVIL = (
    "</td><script>alert('x')</script><img src=http://example.com/x onerror=alert(1)> & \"quoted\""
)


class Outline(HTMLParser):
    """Elements in order; every one must be closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def words_of(page: str) -> str:
    return " ".join(
        " ".join(Outline(re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)).texts).split()
    )


@pytest.fixture(scope="module")
def page() -> str:
    return to_html(full_results(), make_examples())


def test_titles_name_the_decoding_where_it_is_not_greedy() -> None:
    page = to_html(small_results(decoding="grammar <mine>"))
    assert "<h1>grid-tiny, grammar &lt;mine&gt;</h1>" in page
    assert "<title>grid-tiny, grammar &lt;mine&gt;: robustness" in page
    assert "<h1>grid-tiny</h1>" in to_html(small_results(decoding="greedy"))


def test_elements_are_closed_and_headings_in_order(page):
    outline = Outline(page)
    assert outline.open == []
    assert outline.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels[1:]))
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = [link["href"][1:] for link in outline.all("a")]
    assert set(anchors) <= set(ids)
    assert anchors == [
        "verdicts",
        "curves",
        "speakers",
        "figures",
        "clips",
        "conditions",
        "gaps",
    ]


def test_nothing_is_fetched(page):
    outline = Outline(page)
    addresses = [
        attributes[name]
        for _, attributes in outline.elements
        for name in ("src", "href")
        if name in attributes
    ]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert not re.search(r"@import|url\((?!#)", page)
    policy = next(one["content"] for one in outline.all("meta") if one.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_pictures_have_words_in_their_place(page):
    outline = Outline(page)
    assert len(outline.all("img")) == 4
    assert all(len(image["alt"]) > 20 for image in outline.all("img"))
    shown = [svg for svg in outline.all("svg") if svg.get("aria-hidden") != "true"]
    assert shown
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in shown)


def test_the_same_results_give_the_same_bytes(page):
    assert to_html(full_results(), make_examples()) == page


def test_head_says_what_was_measured(page):
    text = words_of(page)
    assert "100, 600 words" in text
    assert "data/grid, split val" in text
    assert "17, 29, 43" in text
    assert "SNR is over the whole clip" in text
    assert "torch 2.13.0" in text


def test_the_matrix_comes_first_with_signs_and_figures(page):
    assert (
        page.index('id="verdicts"')
        < page.index('id="curves"')
        < page.index('id="clips"')
        < page.index('id="conditions"')
    )
    text = words_of(page)
    assert "R_V ✗ FAIL" in text
    assert "Worst +12.0 points, at video missing 100 % (bursts, unindicated); 0.5 allowed." in text
    assert tally(full_results().predicates["R_V"]) in text
    matrix = page[page.index('class="matrix"') : page.index("</table>")]
    assert re.findall(r'<th scope="row">([^<]+)', matrix) == [
        *PATTERNS,
        "bursts, unindicated",
        "utterance, unindicated",
    ]
    assert re.findall(r'<th scope="col">([^<]+)', matrix)[1:] == [
        "10 %",
        "25 %",
        "30 %",
        "50 %",
        "75 %",
        "100 %",
    ]
    cells = re.findall(
        r'<td class="cell (\w+)" title="[^"]+"><span aria-hidden="true">(.)</span>.*?</span> '
        r"([^<]+)",
        matrix,
    )
    assert len(cells) == 9 * 6
    for state, sign, points in cells:
        assert {"✗": {"fail"}, "?": {"undecided"}, "✓": {"pass", "better"}}[sign] >= {state}
        assert (sign == "✗") == (float(points) > 1.3)  # half a point, and 0.8 of the interval below
    assert {sign for _, sign, _ in cells} == {"✗", "?", "✓"}


def with_checks(change) -> str:
    """The page where the checks of R_V are changed."""
    predicates = full_results().predicates
    checks = tuple(change(list(predicates["R_V"].checks)))
    changed = predicates["R_V"].model_copy(update={"checks": checks})
    return to_html(full_results(predicates={**predicates, "R_V": changed}, curves=()))


def test_a_cell_shows_the_worst_of_its_seeds():
    worse = {"row": "another seed", "difference": 0.0777, "passed": False}
    assert "+7.8" in with_checks(lambda checks: [*checks, checks[0].model_copy(update=worse)])


def test_what_was_not_checked_is_a_hole_and_not_a_pass():
    page = with_checks(lambda checks: checks[1:])
    matrix = page.partition('class="matrix"')[2].partition("</table>")[0]
    assert matrix.count('<td class="cell none">n/a</td>') == 1


def test_figures_over_the_rows(page):
    text = words_of(page)
    assert "babble +6.4 dB" in text
    assert "white > 10 dB still no worse at -10 dB" in text
    assert "the lips 31.0 %" in text
    assert "25.0 % 500 words, 100.0 a minute" in text
    assert "bad picture ✗ harm" in text


def test_words_are_aligned_and_errors_named(page):
    items = re.findall(
        r'<li class="(\w*)"><span class="spoken">([^<]+)</span><span class="heard">([^<]+)', page
    )
    assert items[:7] == [
        ("", "bin", "bin"),
        ("substituted", "blue", "green"),
        ("", "at", "at"),
        ("deleted", "f", "∅"),
        ("", "two", "two"),
        ("", "now", "now"),
        ("inserted", "∅", "please"),
    ]
    assert [kind for kind, _, _ in items[7:]] == ["inserted"] * 6


def test_every_row_is_in_the_table(page):
    body = page.partition('<table class="rows sortable">')[2].partition("</table>")[0]
    assert body.count("<tr>") == len(full_results().rows) + 1
    assert 'data-v="0.048"' in body


def test_rows_that_are_not_available_say_why(page):
    assert page.count("the corpus has one talker only") == 18 + 1  # each row, and the list below
    absent = row("noise", "babble", 0.0, not_available="hears nothing", wer=None)
    assert "n/a hears nothing" in words_of(to_html(small_results(rows=(absent,))))


def test_speakers_have_a_table(page):
    body = page.partition('id="speakers"')[2].partition("</section>")[0]
    text = words_of(body)
    assert "s1 audio + video 50 2.4 [0.3, 4.5] 6 1 0 300" in text
    assert "s2 audio + video 50 7.2" in text


def test_small_suites_leave_out_what_they_do_not_have():
    page = to_html(small_results())
    assert "WER clean, audio + video 4.8 %" in words_of(page)
    assert "R_V" not in page  # nothing was checked
    assert [link["href"] for link in Outline(page).all("a")] == ["#figures", "#conditions"]
    assert Outline(page).open == []


def test_text_of_others_is_text():
    full = full_results()
    evil, labelled = {"label": EVIL}, {"label": EVIL, "condition": EVIL}
    rows = [one.model_copy(update=evil) for one in full.rows]
    rows[-1] = rows[-1].model_copy(update={"not_available": EVIL, "wer": None})
    predicates = {}
    for name, found in full.predicates.items():
        checks = tuple(check.model_copy(update=labelled) for check in found.checks)
        predicates[name] = found.model_copy(update={"checks": checks})
    curve = {"condition": EVIL, "x_label": EVIL}
    reliance = full.summary.visual_reliance.model_copy(update={"definition": EVIL})
    gains = {EVIL: Gain(gain_db=None, note=EVIL)}
    speakers = tuple(one.model_copy(update={"speaker": EVIL}) for one in full.summary.speakers)
    told = {"visual_reliance": reliance, "effective_snr_gain_db": gains, "speakers": speakers}
    results = full_results(
        model=EVIL,
        data=EVIL,
        versions={EVIL: EVIL},
        model_sha256=EVIL,
        rows=tuple(rows),
        predicates=predicates,
        curves=tuple(one.model_copy(update=curve) for one in full.curves),
        summary=full.summary.model_copy(update=told),
    )
    clip = make_clip()
    outline = Outline(to_html(results, [Example(EVIL, EVIL, EVIL, EVIL + " more", 1, clip)]))
    assert outline.open == []
    assert len(outline.all("script")) == 1
    assert all(image["src"].startswith("data:image/png") for image in outline.all("img"))
    assert not any(
        name.startswith("on") for _, attributes in outline.elements for name in attributes
    )


def test_a_clip_of_no_frames_and_one_of_silence():
    empty, silent = make_clip(frames=0), make_clip(frames=3)
    silent.audio[:] = 0
    page = to_html(
        small_results(),
        [Example("x", "empty", "bin", "", 1, empty), Example("x", "mute", "", "", 0, silent)],
    )
    assert "The clip is empty." in page
    assert "Nothing was said and nothing recognised." in page


def test_the_strip_shows_the_frames_and_hatches_what_is_missing():
    clip = make_clip(frames=75)
    strip = cv2.imdecode(np.frombuffer(lip_strip(clip), np.uint8), cv2.IMREAD_GRAYSCALE)
    tiles = np.split(strip, 12, axis=1)
    np.testing.assert_array_equal(
        tiles[0], cv2.resize(clip.lips[3], (72, 72), interpolation=cv2.INTER_AREA)
    )
    # the discs do not reach the corners
    bright = [float((tile[:12, :12] > 150).mean()) for tile in tiles]
    assert bright[:8] == [0.0] * 8  # lips are there for the first 50 frames: 8 of 12 samples
    assert min(bright[8:]) > 0.1


def test_the_spectrogram_follows_the_pitch_and_hatches_what_is_missing():
    clip = make_clip(frames=75)
    picture = cv2.imdecode(np.frombuffer(spectrogram(clip), np.uint8), cv2.IMREAD_COLOR)
    loud = picture.sum(axis=2).argmax(axis=0)  # row of the brightest bin in each column
    columns = np.arange(picture.shape[1])
    heard = columns > picture.shape[1] * 0.25
    assert (np.diff(loud[heard][::20]) <= 0).all()  # the chirp rises: rows go up
    # grey hatching and no colour
    assert (picture[:, columns < picture.shape[1] * 0.19].std(axis=2) == 0).all()


def test_pictures_in_the_page_are_whole(page):
    for encoded in re.findall(r"data:image/png;base64,([^\"]+)", page):
        assert (
            cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
            is not None
        )


def test_template_style_and_script_are_installed_with_the_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    data = setup["options.package_data"].get("avsr.eval.report", "")
    assert {"*.css", "*.js", "*.j2"} <= {
        name.strip() for name in data.replace("\n", ",").split(",")
    }
