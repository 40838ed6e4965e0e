"""How a transcript came about, as one HTML file that needs nothing else: no network and no library.

The template escapes every text, and a content security policy in the page lets it fetch nothing and
run nothing but our own script.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from avsr.base.console import printable
from avsr.base.pages import own_parts, templates
from avsr.preprocessing.clip import FPS
from avsr.recognisers.protocol import Recogniser
from avsr.transcribing.captions.colours import COLOURS, HEARD_SHARE, colour, ramp
from avsr.transcribing.engine import Progress
from avsr.transcribing.explain import pictures
from avsr.transcribing.explain.film import film
from avsr.transcribing.explain.gather import LONGEST_S, WINDOW_S, Material, gather
from avsr.transcribing.transcript import Transcript, mean
from avsr.transcribing.writers import write_text

FOLDER = Path(__file__).parent
TEMPLATE = "page.html.j2"
# Pixels of a second on the time axis: a short recording fills a wide screen
SCALE, LARGEST_SCALE, WIDE = 150, 400, 1140
STRIP_HEIGHT = 60  # pixels, as in the style sheet


@dataclass(frozen=True)
class Spoken:
    """A word as the page shows it; its place counts all words of the page."""

    number: int
    word: str
    glued: bool
    start_s: float
    end_s: float
    confidence: float
    audio_weight: float
    kind: str
    rgb: str
    meaning: str
    source: str


@dataclass(frozen=True)
class Line:
    """A segment of the transcript."""

    start_s: float
    end_s: float
    text: str
    speaker: str | None
    words: list[Spoken]


def explain(
    path: Path,
    transcript: Transcript,
    recogniser: Recogniser,
    target: Path,
    modality: str = "auto",
    progress: Progress | None = None,
    **options: Any,
) -> None:
    """Writes a page that shows how the transcript of a recording came about.

    Args:
        path: the recording.
        transcript: its transcript.
        recogniser: who made it.
        target: the page; its folder must exist.
        modality: as for the transcript.
        progress: told how far it is; what it raises ends the call.
        options: face, audio_track and partial, as for the transcript.

    Raises:
        MediaError: the recording cannot be read.
        AvsrError: the page cannot be written.
    """
    material = gather(path, transcript, recogniser, modality, progress, **options)
    write_text(
        target, to_html(transcript, material, film(path, LONGEST_S, options.get("audio_track")))
    )


def to_html(transcript: Transcript, material: Material, player: str) -> str:
    """The page.

    Args:
        transcript: what was recognised.
        material: what the recording holds.
        player: the recording as a data URI, see film.film.

    Returns:
        A whole HTML document.
    """
    environment = templates(FOLDER)
    environment.globals |= {"clock": clock, "ramp": ramp}
    lines = _lines(transcript, material.duration_s)
    words = [word for line in lines for word in line.words]
    scale = min(max(SCALE, WIDE / max(material.duration_s, 0.04)), LARGEST_SCALE)
    windows = pictures.draw(material, every=max(1, round(STRIP_HEIGHT / scale * FPS)))
    return environment.get_template(TEMPLATE).render(
        **own_parts(FOLDER),
        name=printable(Path(transcript.file).name),
        transcript=transcript,
        notes=_notes(transcript, material),
        lines=lines,
        words=words,
        heard=sum(word.audio_weight >= HEARD_SHARE for word in words),
        sure=mean([word.confidence for word in words]),
        kinds=COLOURS.values(),
        named=any(line.speaker for line in lines),
        film=player,
        is_film=player.startswith("data:video"),
        has_lips=material.has_lips,
        has_sound=material.has_sound,
        network=material.network,
        crossed=any(window.of_audio or window.of_video for window in windows),
        squares=_squares(material),
        windows=windows,
        duration_s=material.duration_s,
        scale=scale,
        data=_data(words, windows, scale),
    )


def clock(seconds: float) -> str:
    """Minutes, seconds and hundredths, such as 1:02.50."""
    minutes, rest = divmod(round(seconds * 100), 6000)
    return f"{minutes}:{rest // 100:02d}.{rest % 100:02d}"


def _lines(transcript: Transcript, duration_s: float) -> list[Line]:
    """The segments that the page has room for."""
    lines, number = [], 0
    for segment in transcript.segments:
        if segment.start_s >= duration_s > 0:
            break
        words = []
        for word in segment.words:
            kind = colour(word)
            words.append(
                Spoken(
                    number,
                    word.word,
                    word.glued,
                    word.start_s,
                    word.end_s,
                    word.confidence,
                    word.audio_weight,
                    kind.name,
                    ramp(word.audio_weight),
                    kind.meaning,
                    word.source or "",
                )
            )
            number += 1
        lines.append(Line(segment.start_s, segment.end_s, segment.text, segment.speaker, words))
    return lines


def _notes(transcript: Transcript, material: Material) -> list[str]:
    """What a reader should know, beside the transcript's own warnings."""
    notes = [*transcript.warnings]
    notes += [remark for remark in material.remarks if remark not in notes]
    if not material.whole:
        notes.append(f"the page shows the first {LONGEST_S / 60:.0f} minutes only")
    return notes


def _squares(material: Material) -> tuple[str, str] | None:
    """All of the attention of a recording of one window: of sound, of lips."""
    if len(material.windows) != 1 or (found := material.windows[0].crossing) is None:
        return None
    return pictures.square(found.of_audio), pictures.square(found.of_video)


def _data(words: list[Spoken], windows: list[pictures.Pictures], scale: float) -> Markup:
    """What the script needs, as JSON that cannot end the element it stands in."""
    body = {
        "words": [asdict(word) for word in words],
        "windows": [
            {"start_s": window.start_s, "duration_s": window.duration_s, "frames": window.frames}
            for window in windows
        ],
        "window_s": WINDOW_S,
        "fps": FPS,
        "scale": scale,
        "crop": pictures.CROP,
        "columns": pictures.SHEET_COLUMNS,
    }
    text = json.dumps(body, ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c"))
