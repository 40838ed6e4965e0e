"""The page: what is on it, and what its buttons do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from avsr.app.room import DISK_FULL, is_full
from avsr.app.routes import PREFIX, STATIC
from avsr.app.shelf import Result, Shelf
from avsr.app.streams import Streams
from avsr.app.work import Cancelled, Models, Task, Tasks
from avsr.base.console import one_line
from avsr.base.errors import AvsrError, MediaError
from avsr.preprocessing.media.streams import probe
from avsr.recognisers import registry
from avsr.recognisers.protocol import MODALITIES
from avsr.transcribing.engine import Progress

if TYPE_CHECKING:
    from avsr.transcribing.transcript import Transcript

POLL_S = 0.3  # how often the page is told how far it is
ABOUT = {
    "auto": "sound and lips, what is there",
    "av": "sound and lips, both",
    "audio": "sound alone",
    "video": "lips alone",
}
HEAD = (
    f'<link rel="stylesheet" href="{PREFIX}/static/app.css">'
    f'<script type="module" src="{PREFIX}/static/player.js"></script>'
    f'<script type="module" src="{PREFIX}/static/camera.js"></script>'
    f'<script type="module" src="{PREFIX}/static/upload.js"></script>'
)
TITLE = "avsr: who said what"
PLAYER = '<avsr-player result="${value}"></avsr-player>'
# gradio hands what a custom element says on to Python
RECORDED = """
element.addEventListener('recorded', event => trigger('submit', {recording: event.detail}));
element.addEventListener('began', () => trigger('start_recording'));
"""


@dataclass(frozen=True)
class Workshop:
    """What the buttons work with.

    Attributes:
        models, tasks, shelf, streams: those of the server.
        model: chosen when the page is opened.
        most_minutes: that a recording may last.
        most_megabytes: that it may have.
    """

    models: Models
    tasks: Tasks
    shelf: Shelf
    streams: Streams
    model: str
    most_minutes: float
    most_megabytes: float

    def transcribe(
        self, file: str | None, model: str, modality: str, speakers: bool, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Transcribes an uploaded file; yields what changes on the page."""
        if file is None:
            yield _failed("choose a file first")
            return
        path, how = Path(file), {"modality": modality, "speakers": speakers}
        yield from self._transcribed(path, path.name, model, how, request)

    def transcribe_recording(
        self,
        model: str,
        modality: str,
        speakers: bool,
        request: gr.Request,
        event: gr.EventData,
    ) -> Iterator[tuple[Any, ...]]:
        """Transcribes what the camera recorded."""
        try:
            path = self.streams.recording(event.recording)
        except AvsrError as error:
            yield _failed(str(error))
            return
        name, how = f"recording{path.suffix}", {"modality": modality, "speakers": speakers}
        yield from self._transcribed(path, name, model, how, request)

    def _transcribed(
        self, path: Path, name: str, model: str, how: dict[str, Any], request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        def work(tell: Progress) -> Transcript:
            recogniser = self.models.load(model)
            tell(0, 1)
            return recogniser.transcribe(path, progress=tell, **how)

        who = _who(request)
        try:
            with self.shelf.used(path, who):
                has_video = self._checked(path)
                with self.tasks.run(who, work) as task:
                    yield _working("waiting", None, clear=True)
                    while not task.wait(POLL_S):
                        yield _working("transcribing", task)
                    transcript = task.result
                kept = self.shelf.put(Result(name, path, has_video, transcript, model, how))
        except Exception as error:
            yield _ended_by(error, path, name)
            return
        yield _done(kept, f"{_count(transcript)} in {transcript.duration_s:.0f} s of recording")

    def examine(self, file: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Examines an uploaded file; yields what changes on the page."""
        from avsr.model import checkpoint
        from avsr.recognisers import ours
        from avsr.transcribing.doctor.examine import Examination, examine

        if file is None:
            yield _failed("choose a file first")
            return
        path, who = Path(file), _who(request)

        def work(tell: Progress) -> Examination:
            return examine(path, ours.load(checkpoint.DEFAULT), tell, registry.language_of)

        try:
            with self.shelf.used(path, who):
                self._checked(path)
                with self.tasks.run(who, work) as task:
                    yield _working("waiting", None, clear=True)
                    while not task.wait(POLL_S):
                        yield _working("examining", task)
                    report = self._report(replace(task.result, file=path.name))
        except Exception as error:
            yield _ended_by(error, path, path.name)
            return
        yield (*_status("examined"), gr.update(), gr.HTML(value=report, visible=True), *_idle())

    def choose(self, file: str | None, request: gr.Request) -> None:
        """Somebody has uploaded a file."""
        if file is not None:
            self.shelf.choose(Path(file), _who(request))

    def leave(self, request: gr.Request) -> None:
        """Somebody has closed their page: their work ends, and what they had is gone soon."""
        self.tasks.cancel(_who(request))
        self.shelf.leave(_who(request))

    def cancel(self, request: gr.Request) -> tuple[Any, ...]:
        """Ends what runs for whoever asks."""
        self.tasks.cancel(_who(request))
        return _cancelled()

    def _checked(self, path: Path) -> bool:
        """Whether a file has a picture.

        Raises:
            MediaError: it cannot be read, or lasts too long.
        """
        info = probe(path)
        if info.duration_s > 60 * self.most_minutes:
            raise MediaError(
                f"{path}: lasts {info.duration_s / 60:.0f} minutes, at most "
                f"{self.most_minutes:g} are allowed here: cut it, or use avsr transcribe"
            )
        return info.has_video

    def _report(self, found: Any) -> dict[str, Any]:
        """What the doctor says, for its template."""
        from avsr.transcribing.doctor import advice
        from avsr.transcribing.doctor.sheet import contact_sheet

        best = advice.advise(found, registry.for_advice())
        return {
            "file": found.file,
            "findings": [
                {"kind": finding.kind, "text": finding.text} for finding in advice.findings(found)
            ],
            "why": best.why,
            "commands": [{"what": what, "command": command} for what, command in best.commands],
            "sheet": self.shelf.put_picture(contact_sheet([found])) if found.crops else "",
            "prefix": PREFIX,
        }


class Blocks(gr.Blocks):
    """gradio's, but for errors: what the functions of the page do not tell themselves comes of a
    request that the page does not make, and whoever made it is told in a line. gradio would print a
    traceback."""

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return await super().process_api(*args, **kwargs)
        except Exception as error:
            raise gr.Error(one_line(str(error)), print_exception=False) from None

    def forget(self) -> None:
        """What gradio would keep for ever of pages and uploads that have ended; to be called in the
        thread that serves them."""
        from gradio.routes import file_upload_statuses

        waiting = self._queue.pending_event_ids_session
        for who in [who for who, events in waiting.items() if not events]:
            del waiting[who]
        asked = file_upload_statuses._signals
        for upload in set(asked) - set(file_upload_statuses._statuses):
            del asked[upload]


def page(shop: Workshop) -> Blocks:
    """The page; it keeps nothing of its own."""
    own: dict[str, Any] = {"apply_default_css": False}  # these parts have styles of their own
    with Blocks(title=TITLE, analytics_enabled=False, fill_width=False) as blocks:
        gr.Markdown("# Who said what\nHears, reads lips, and stays on this machine.")
        with gr.Tabs():
            with gr.Tab("A file"):
                file = gr.File(label=_label(shop), height=150, elem_id="avsr-file")
                with gr.Row():
                    start = gr.Button("Transcribe", variant="primary", elem_id="avsr-start")
                    ask = gr.Button("What is wrong with it?", elem_id="avsr-ask")
            with gr.Tab("Camera and microphone"):
                camera = gr.HTML(
                    html_template="<avsr-camera></avsr-camera>", js_on_load=RECORDED, **own
                )
        with gr.Accordion("Model and senses", open=False):
            model = gr.Dropdown(
                shop.models.choices,
                value=shop.model,
                label="Model",
                info="The bundled one knows 51 words. Any words: avsr models get whisper-small",
                elem_id="avsr-model",
            )
            modality = gr.Radio(
                [(ABOUT[name], name) for name in MODALITIES], value="auto", label="Uses"
            )
            speakers = gr.Checkbox(
                label="Say who speaks", info="Each is read from their own lips, where several talk."
            )
        status = gr.HTML(
            value={"text": "", "share": "", "failed": False},
            html_template=_template("status.html"),
            elem_id="avsr-status",
            **own,
        )
        stop = gr.Button("Cancel", variant="stop", visible=False, elem_id="avsr-stop")
        player = gr.HTML(value="", html_template=PLAYER, visible=False, **own)
        report = gr.HTML(value={}, html_template=_template("report.html"), visible=False, **own)
        outputs = [status, player, report, start, ask, stop]
        about = [model, modality, speakers]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        runs: list[Any] = [
            start.click(shop.transcribe, [file, *about], outputs, **quiet),
            camera.submit(shop.transcribe_recording, about, outputs, **quiet),
            ask.click(shop.examine, [file], outputs, **quiet),
        ]
        camera.start_recording(_cleared, None, outputs, queue=False, **quiet)
        stop.click(shop.cancel, None, outputs, cancels=runs, queue=False, **quiet)
        file.upload(shop.choose, file, None, queue=False, **quiet)
        blocks.unload(shop.leave)
    return blocks


def _label(shop: Workshop) -> str:
    limits = f"{shop.most_megabytes:g} MB and {shop.most_minutes:g} minutes"
    return f"Video or sound file, up to {limits}"


def _template(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _who(request: gr.Request) -> str:
    return str(request.session_hash)


def _status(text: str, share: str = "", *, failed: bool = False) -> tuple[Any, ...]:
    return ({"text": text, "share": share, "failed": failed},)


def _idle() -> tuple[Any, ...]:
    """The buttons while nothing runs."""
    return gr.Button(interactive=True), gr.Button(interactive=True), gr.Button(visible=False)


def _working(what: str, task: Task[Any] | None, *, clear: bool = False) -> tuple[Any, ...]:
    """While something runs; clear: what stood there goes."""
    share, left_s = (None, None) if task is None else (task.share, task.left_s)
    buttons = (
        (gr.Button(interactive=False), gr.Button(interactive=False), gr.Button(visible=True))
        if clear
        else (gr.update(), gr.update(), gr.update())
    )
    shown = gr.HTML(visible=False) if clear else gr.update()
    text = "waiting" if share is None else f"{what}: {share:.0%}{_left(left_s)}"
    return (*_status(text, "" if share is None else f"{share:.3f}"), shown, shown, *buttons)


def _left(seconds: float | None) -> str:
    """How long something will take, as exactly as that can be known."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f", about {5 * max(1, round(seconds / 5))} s left"
    return f", about {round(seconds / 60)} min left"


def _cleared() -> tuple[Any, ...]:
    """What an earlier call left goes; buttons stay as they are."""
    hidden = gr.HTML(visible=False)
    return (*_status(""), hidden, hidden, gr.update(), gr.update(), gr.update())


def _done(result: str, text: str) -> tuple[Any, ...]:
    return (*_status(text), gr.HTML(value=result, visible=True), gr.update(), *_idle())


def _failed(line: str) -> tuple[Any, ...]:
    return (*_status(line, failed=True), gr.update(), gr.update(), *_idle())


def _cancelled() -> tuple[Any, ...]:
    return (*_status("cancelled"), gr.update(), gr.update(), *_idle())


def _ended_by(error: Exception, path: Path, name: str) -> tuple[Any, ...]:
    """What the page shows of an error: a line that names the file as the user knows it."""
    if isinstance(error, Cancelled):
        return _cancelled()
    if isinstance(error, AvsrError):
        return _failed(one_line(str(error).replace(str(path), name)))
    if is_full(error):
        return _failed(DISK_FULL)
    return _failed(f"unexpected {type(error).__name__}: {one_line(str(error))}")


def _count(transcript: Transcript) -> str:
    count = sum(len(segment.words) for segment in transcript.segments)
    return f"{count} word{'s' * (count != 1)}"
