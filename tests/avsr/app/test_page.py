"""The page in a real Chromium: what people do with it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from avsr.preprocessing.media.streams import probe
from avsr.transcribing.captions.colours import COLOURS
from avsr.transcribing.writers import RENDERERS

CSS = Path(__file__).parents[3] / "avsr" / "app" / "static" / "app.css"
CONTROLS = "button|link|textbox|combobox|checkbox|radio|tab|video"


def upload(page: Any, path: Path) -> None:
    page.locator("#avsr-file input[type=file]").set_input_files(path)
    page.locator("#avsr-file").get_by_text(path.stem).first.wait_for()


def transcribed(page: Any, path: Path) -> list[str]:
    """The words that the page shows of a file."""
    upload(page, path)
    page.get_by_role("button", name="Transcribe", exact=True).click()
    page.locator("avsr-player button.word").first.wait_for()
    return page.locator("avsr-player button.word").all_inner_texts()


def test_a_file_becomes_words_that_light_up(page: Any, film: Any):
    assert transcribed(page, film.path) == film.text.split()
    page.locator("avsr-player video").evaluate(
        "video => { Object.assign(video, { muted: true, loop: true }); video.play() }"
    )
    page.locator("avsr-player button.word[aria-current]").first.wait_for()
    page.locator("avsr-player .caption .now").wait_for()


def test_what_is_on_the_page_is_asked_for_again_and_again(page: Any, film: Any):
    page.clock.install()
    page.reload()
    transcribed(page, film.path)
    with page.expect_response("**/seen") as waiting:
        page.clock.fast_forward(31_000)
    assert waiting.value.ok


def test_a_word_is_corrected_with_the_keyboard_and_downloaded(page: Any, film: Any, tmp_path: Path):
    words = transcribed(page, film.path)
    page.locator("avsr-player button.word").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("F2")
    page.keyboard.type("bread & butter")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="bread & butter").wait_for()
    mended = [words[0], "bread & butter", *words[2:]]
    found = {}
    for format in (*RENDERERS, "zip"):
        with page.expect_download() as waiting:
            page.get_by_role("link", name=f"Download my film.{format}").click()
        path = tmp_path / waiting.value.suggested_filename
        assert path.name == f"my film.{format}"
        waiting.value.save_as(path)
        found[format] = path
    body = json.loads(found["json"].read_text())
    said = [word["word"] for segment in body["segments"] for word in segment["words"]]
    assert said == mended
    assert body["file"] == "my film.mp4"
    assert found["txt"].read_text().strip() == " ".join(mended)
    assert len(zipfile.ZipFile(found["zip"]).namelist()) == len(RENDERERS)


def test_what_takes_long_to_make_is_made_when_asked_for(page: Any, film: Any, tmp_path: Path):
    transcribed(page, film.path)
    for name in ("my film.html", "my film.captions.mp4"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=f"Make {name}").click()
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)
        page.get_by_role("link", name=f"Download {name}").wait_for()
    assert "who speaks" not in (tmp_path / "my film.html").read_text()
    assert probe(tmp_path / "my film.captions.mp4").has_video
    page.locator("avsr-player button.word").first.focus()  # what was made before is out of date
    page.keyboard.press("F2")
    page.keyboard.type("bread")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Make my film.html").wait_for()


def test_what_is_no_recording_ends_in_one_line_and_the_page_goes_on(
    page: Any, film: Any, tmp_path: Path
):
    bad = tmp_path / "notes.mp4"
    bad.write_text("these are no pictures")
    upload(page, bad)
    page.get_by_role("button", name="Transcribe", exact=True).click()
    line = page.get_by_role("alert")
    line.get_by_text("notes.mp4").wait_for()
    assert "/" not in line.inner_text().split("(")[0]  # no path of the server
    page.get_by_role("button", name="What is wrong with it?").click()
    page.get_by_role("alert").get_by_text("notes.mp4").wait_for()


def test_what_there_is_no_room_for_is_told_before_it_is_sent(page: Any, film: Any):
    line, sent = "no room for 1 MB: close pages of it", []
    page.route("**/avsr/room?*", lambda asked: asked.fulfill(status=507, json={"error": line}))
    page.route("**/gradio_api/upload?*", lambda asked: sent.append(asked) or asked.continue_())
    page.locator("#avsr-file input[type=file]").set_input_files(film.path)
    page.get_by_text(line, exact=True).first.wait_for()
    assert not sent
    page.unroute("**/avsr/room?*")
    page.locator("#avsr-file").get_by_role("button").first.click()  # takes the error away
    with page.expect_response("**/gradio_api/upload?*") as waiting:
        upload(page, film.path)
    assert waiting.value.ok


def test_too_long_a_recording_is_refused_before_the_work(page: Any, tmp_path: Path):
    import numpy as np
    import soundfile

    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(310 * 8000), 8000)
    upload(page, path)
    page.get_by_role("button", name="Transcribe", exact=True).click()
    page.get_by_role("alert").get_by_text("at most 5 are allowed").wait_for()


def test_work_is_shown_and_can_be_cancelled(page: Any, film: Any, ffmpeg: str, tmp_path: Path):
    path = tmp_path / "again.mp4"
    again = [ffmpeg, "-v", "error", "-stream_loop", "25", "-i", str(film.path), "-c", "copy"]
    subprocess.run([*again, str(path)], check=True)
    upload(page, path)
    page.get_by_role("button", name="Transcribe", exact=True).click()
    page.get_by_role("progressbar").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("status").get_by_text("cancelled").wait_for()
    assert page.get_by_role("button", name="Transcribe", exact=True).is_enabled()
    assert not page.locator("avsr-player button.word").count()


def test_what_the_browser_cannot_play_is_shown_as_a_copy(
    page: Any, film: Any, ffmpeg: str, tmp_path: Path
):
    path = tmp_path / "old.mpg"
    subprocess.run([ffmpeg, "-v", "error", "-i", str(film.path), str(path)], check=True)
    transcribed(page, path)
    page.wait_for_function("document.querySelector('avsr-player video').duration > 2")
    assert "/copy" in page.locator("avsr-player video").evaluate("video => video.currentSrc")


def test_who_speaks_is_said_and_can_be_named(page: Any, film: Any):
    page.get_by_role("button", name="Model and senses").click()
    page.get_by_label("Say who speaks").check()
    transcribed(page, film.path)
    page.on("dialog", lambda dialog: dialog.accept("Ada"))
    page.locator("avsr-player button.speaker").first.click()
    page.get_by_role("button", name="Speaker Ada: rename").wait_for()


def test_the_doctor_reports(page: Any, film: Any):
    upload(page, film.path)
    page.get_by_role("button", name="What is wrong with it?").click()
    report = page.get_by_role("region", name="The doctor's report")
    report.get_by_text("lips can be read").first.wait_for()
    sheet = report.get_by_role("img")
    assert sheet.evaluate("async image => { await image.decode(); return image.naturalWidth }")


def test_captions_come_live_and_the_recording_is_transcribed(page: Any, film: Any):
    page.get_by_role("tab", name="Camera and microphone").click()
    page.get_by_role("button", name="Start").click()
    captions = page.get_by_role("log", name="Captions")
    captions.get_by_text("again").first.wait_for()
    page.get_by_text(re.compile(r"certain \d+\.\d s after they were said")).wait_for()
    known = set(film.text.split())
    for _ in range(240):  # the camera begins anywhere in the film, and shows it again and again
        if len(known & set(captions.inner_text().split())) >= 4:
            break
        page.wait_for_timeout(500)
    assert len(known & set(captions.inner_text().split())) >= 4
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Transcribe the recording").click()
    page.locator("avsr-player button.word").first.wait_for()
    seconds = page.locator("avsr-player video").evaluate(
        "video => video.duration || new Promise(tell => "
        "video.addEventListener('loadedmetadata', () => tell(video.duration)))"
    )
    assert 2 < seconds < 300  # a recorder alone would leave it open
    page.get_by_role("button", name="Start").click()
    page.locator("avsr-player").wait_for(state="hidden")  # of the recording before
    page.get_by_role("button", name="Stop").click()


@pytest.mark.parametrize("tab", ["A file", "Camera and microphone"])
def test_on_a_phone_nothing_is_cut_off_and_everything_has_a_name(page: Any, film: Any, tab: str):
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("tab", name=tab).click()
    if tab == "A file":
        transcribed(page, film.path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    tree = page.locator("body").aria_snapshot()
    unnamed = re.findall(rf"^ *- (?:{CONTROLS})(?::.*)?$", tree, re.M)
    assert not unnamed, tree
    assert not page.locator("img:not([alt])").count()


def test_nobody_else_is_let_in_and_nothing_goes_out(address: str):
    with urllib.request.urlopen(address) as answer:
        policy = answer.headers["Content-Security-Policy"]
        body = answer.read().decode()
    assert "default-src 'self'" in policy
    assert not re.findall(r"(?:src|href)=\"https?://", body)
    command = json.dumps({"model": "command:touch found"}).encode()
    kind = {"Content-Type": "application/json"}
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(f"{address}/avsr/live", command, kind))
    forged = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(forged)
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(f"{address}/avsr/results/guessed")


def test_words_have_the_colours_of_the_subtitles():
    css = CSS.read_text()
    for kind in COLOURS.values():
        (rule,) = re.findall(rf"^\.word\.{kind.name} {{ (.*?) }}", css, re.M)
        assert f"color: {kind.rgb};" in rule
        assert ("underline" in rule) == kind.underlined


def test_nothing_is_left_when_the_server_has_ended(
    server: subprocess.Popen[str], address: str, temporary: Path
):
    assert list(temporary.glob("avsr-app-*"))
    server.send_signal(signal.SIGINT)
    server.wait(120)
    assert not list(temporary.glob("avsr-app-*"))
