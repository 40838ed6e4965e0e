"""Results that a browser looks at, corrects and downloads; all are gone when the server ends."""

from __future__ import annotations

import io
import os
import secrets
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from avsr.app.room import Room
from avsr.base.errors import AvsrError
from avsr.base.processes.signals import stop
from avsr.transcribing.captions.colours import colour
from avsr.transcribing.captions.formats import Style
from avsr.transcribing.transcript import Segment, Transcript, Word, join
from avsr.transcribing.writers import RENDERERS

LONGEST_WORD = 200  # letters that a correction may have
LONGEST_COPY_S = 1800.0  # of a recording that a browser cannot play as it is
LEFT_S = 180.0  # that a page which is open may be silent; it asks twice a minute


@dataclass
class Result:
    """A recording and its transcript.

    Attributes:
        name: of the recording, as the user knows it.
        media: the recording.
        has_video: whether there is a picture in it.
        transcript: with the corrections so far.
        model: who made it.
        how: what was asked for, as for `Recogniser.transcribe`.
        seen_s: by `time.monotonic`, when somebody last asked for it.
    """

    name: str
    media: Path
    has_video: bool
    transcript: Transcript
    model: str = ""
    how: dict[str, Any] = field(default_factory=dict)
    seen_s: float = 0.0
    _copy: tuple[Path, str] | None = None
    _copying: threading.Lock = field(default_factory=threading.Lock)
    _made: dict[str, tuple[Path, Transcript]] = field(default_factory=dict)

    @property
    def named(self) -> Transcript:
        """The transcript with the name of the recording as the user knows it."""
        return replace(self.transcript, file=self.name)

    @property
    def size(self) -> int:
        """Bytes of the recording, and about those of what is made of it; 0 where it is gone."""
        with suppress(OSError):
            return self.media.stat().st_size
        return 0

    def public(self, text: str) -> str:
        """A line for people, with the name that they know and no path of this machine."""
        return text.replace(str(self.media), self.name).replace(f"{self.media.parent}{os.sep}", "")

    @property
    def makes(self) -> dict[str, str]:
        """What can be made of it, and the name of that file."""
        from avsr.preprocessing.media.copies import name_of_copy

        name = Path(self.name)
        film = {"film": name_of_copy(name, "captions", encoded=True)} if self.has_video else {}
        return {"page": f"{name.stem}.html", **film}

    def keep(self, kind: str, path: Path, transcript: Transcript) -> None:
        """Takes what was made of a transcript; what was made of an earlier one goes."""
        before = self._made.get(kind)
        self._made[kind] = path, transcript
        if before is not None:
            before[0].unlink(missing_ok=True)

    def made(self, kind: str) -> Path | None:
        """What was made of the transcript as it is now; None where nothing was."""
        path, transcript = self._made.get(kind, (None, None))
        return path if transcript is self.transcript else None

    def copy(self, target: Path, room: Room) -> tuple[Path, str]:
        """A smaller recording, and its type, for browsers that cannot play this kind; made once.

        Args:
            target: where to write it.
            room: for all files.

        Raises:
            MediaError: the recording cannot be read.
            NoRoom: for the copy.
        """
        from avsr.transcribing.explain.film import write_film

        with self._copying:
            if self._copy is None:
                try:
                    with room.promised(target, self.size), target.open("wb") as file:
                        kind = write_film(file, self.media, LONGEST_COPY_S)
                except BaseException:
                    target.unlink(missing_ok=True)
                    raise
                self._copy = target, kind
            return self._copy

    @property
    def files(self) -> list[Path]:
        """All that is removed with it."""
        made = [path for path, _ in self._made.values()]
        return [self.media, *([self._copy[0]] if self._copy else []), *made]

    def correct(self, segment: int, word: int, text: str) -> None:
        """Puts another text in the place of a word; an empty one takes the word away.

        Raises:
            AvsrError: no such word, or a text that is too long.
        """
        segments = list(self.transcript.segments)
        if not (0 <= segment < len(segments) and 0 <= word < len(segments[segment].words)):
            raise AvsrError(f"word {word} of line {segment}: there is none; load the page again")
        text = " ".join(text.split())
        if len(text) > LONGEST_WORD:
            raise AvsrError(f"{len(text)} letters: a word has at most {LONGEST_WORD}")
        words = list(segments[segment].words)
        # who corrects a word is sure of it
        mended = replace(words[word], word=text, confidence=1.0, letters=())
        words[word : word + 1] = [mended] if text else []
        segments[segment] = _of_words(segments[segment], words)
        kept = [part for part in segments if part.words]
        self.transcript = replace(self.transcript, segments=kept)

    def name_speaker(self, old: str, new: str) -> None:
        """Calls a speaker something else throughout.

        Raises:
            AvsrError: an empty or overlong name.
        """
        new = " ".join(new.split())
        if not new or len(new) > LONGEST_WORD:
            raise AvsrError(f"a name has 1 to {LONGEST_WORD} letters")
        segments = [
            replace(part, speaker=new) if part.speaker == old else part
            for part in self.transcript.segments
        ]
        faces = dict(self.transcript.faces)
        if old in faces:  # of two with one name the lips of who had it first count
            faces.setdefault(new, faces.pop(old))
        self.transcript = replace(self.transcript, segments=segments, faces=faces)

    def fields(self) -> dict[str, Any]:
        """What the page shows."""
        segments = []
        for part in self.transcript.segments:
            words = [word_fields(word) for word in part.words]
            kept = {"speaker": part.speaker, "start_s": part.start_s, "end_s": part.end_s}
            segments.append({**kept, "in_domain": part.in_domain, "words": words})
        return {
            "name": self.name,
            "model": self.transcript.model,
            "duration_s": self.transcript.duration_s,
            "has_video": self.has_video,
            "warnings": self.transcript.warnings,
            "segments": segments,
            "files": [f"{Path(self.name).stem}.{name}" for name in RENDERERS],
            "makes": self.makes,
        }

    def rendered(self, format: str) -> bytes:
        """The transcript as a file.

        Args:
            format: one of RENDERERS, or "zip" for all of them.

        Raises:
            AvsrError: no such format.
        """
        if format == "zip":
            packed, stem = io.BytesIO(), Path(self.name).stem
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in RENDERERS:
                    archive.writestr(f"{stem}.{name}", self.rendered(name))
            return packed.getvalue()
        if format not in RENDERERS:
            raise AvsrError(f"format {format!r}: use one of {', '.join(RENDERERS)} or zip")
        text = RENDERERS[format](self.named, Style(highlight=True))
        return text.encode("utf-8", "backslashreplace")


def _of_words(segment: Segment, words: list[Word]) -> Segment:
    return replace(segment, words=words, text=join(words))


def word_fields(word: Word) -> dict[str, Any]:
    """A word as the page shows it."""
    found = asdict(word)
    for name in ("letters", "source"):
        del found[name]
    return {**found, "colour": colour(word).name}


class Shelf:
    """Results by names that nobody can guess, and the folder of all files that are theirs.

    What is on somebody's page stays: it is asked for again and again. What they have left is gone
    after LEFT_S, all else after `keep_s`.

    Args:
        keep_s: seconds after which a result that nobody asks for is gone.
        most_bytes: of all that is kept.

    Attributes:
        folder: of all files.
        uploads: of those that browsers send, each in a folder of its own.
        room: what is left of `most_bytes`.
    """

    def __init__(
        self, keep_s: float, most_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = TemporaryDirectory(prefix="avsr-app-")
        self.folder = Path(self._folder.name)
        self.uploads = self.folder / "uploads"
        self.room = Room(self.folder, most_bytes)
        self._keep_s, self._clock = keep_s, clock
        self._left_s = min(keep_s, LEFT_S)
        self._results: dict[str, Result] = {}
        self._pictures: dict[str, Path] = {}
        self._owners: dict[Path, str] = {}
        self._used: list[Path] = []
        self._lock = threading.Lock()
        stop.leaving.add(self._folder.cleanup)

    def close(self) -> None:
        """Removes everything."""
        self._folder.cleanup()
        stop.leaving.discard(self._folder.cleanup)

    def new_file(self, suffix: str) -> Path:
        """A place for a file that goes with the shelf."""
        return self.folder / f"{secrets.token_urlsafe(16)}{suffix}"

    def new_upload(self) -> Path:
        """A place for the folder of an upload."""
        return self.uploads / secrets.token_urlsafe(16)

    @contextmanager
    def used(self, path: Path, who: str) -> Iterator[None]:
        """A recording stays while somebody's work needs it; it is the one on their page then."""
        self.choose(path, who)
        with self._lock:
            self._used.append(path)
        try:
            yield
        finally:
            with self._lock:
                self._used.remove(path)
            if self._owners.get(path) == who:  # they are still there
                self.touch(path)

    def choose(self, path: Path, who: str) -> None:
        """Somebody has put a recording on their page, in the place of others."""
        with self._lock:
            others = [other for other in self._owners if self._owners[other] == who]
            self._owners[path] = who
        self._give_up([other for other in others if other != path])

    def leave(self, who: str) -> None:
        """Somebody has closed their page."""
        with self._lock:
            left = [path for path in self._owners if self._owners[path] == who]
            for path in left:
                del self._owners[path]
        self._give_up(left)

    def _give_up(self, paths: list[Path]) -> None:
        """These, and what was made of them, are gone in a while unless somebody asks for them."""
        if not paths:
            return
        for path in paths:
            self.touch(path, self._left_s)
        with self._lock:
            for result in self._results.values():
                if result.media in paths:
                    result.seen_s = self._clock() - self._keep_s + self._left_s

    def touch(self, path: Path, stays_s: float | None = None) -> None:
        """A file that no result has stays for so long from now on; as long as any if not told."""
        now_s, stays_s = time.time(), self._keep_s if stays_s is None else stays_s
        with suppress(OSError):  # removed meanwhile
            os.utime(path, (now_s, now_s - self._keep_s + stays_s))

    def put(self, result: Result) -> str:
        """Keeps a result, in the place of others of the same recording; returns what it is called
        from now on."""
        name = secrets.token_urlsafe(16)
        result.seen_s = self._clock()
        with self._lock:
            replaced = [
                self._results.pop(other)
                for other, old in list(self._results.items())
                if old.media == result.media
            ]
            self._results[name] = result
        for path in (path for old in replaced for path in old.files if path != result.media):
            path.unlink(missing_ok=True)
        return name

    def get(self, name: str) -> Result:
        """
        Raises:
            AvsrError: it is gone, or never was.
        """
        result = self._results.get(name)
        if result is None:
            raise AvsrError("this result is no longer there: transcribe the recording again")
        result.seen_s = self._clock()
        return result

    def put_picture(self, png: bytes) -> str:
        """Keeps a picture; returns what it is called.

        Raises:
            NoRoom: there is none for it.
        """
        self.room.check(len(png))
        path = self.new_file(".png")
        path.write_bytes(png)
        with self._lock:
            self._pictures[path.stem] = path
        return path.stem

    def picture(self, name: str) -> bytes:
        """
        Raises:
            AvsrError: it is gone.
        """
        try:
            return self._pictures[name].read_bytes()
        except (KeyError, OSError):
            raise AvsrError("this picture is no longer there: ask the doctor again") from None

    def tidy(self) -> None:
        """Removes what nobody has asked for in a while, and files that belong to nothing."""
        before_s = self._clock() - self._keep_s
        with self._lock:
            for name, result in list(self._results.items()):
                if result.seen_s < before_s:
                    del self._results[name]
            kept = {path for result in self._results.values() for path in result.files}
            kept.update(self._used)
        for path in list(self.folder.rglob("*")):
            if path.is_file() and path not in kept and self._is_old(path):
                self._remove(path)
        with self._lock:
            self._owners = {path: who for path, who in self._owners.items() if path.exists()}
            self._pictures = {name: path for name, path in self._pictures.items() if path.exists()}

    def _remove(self, path: Path) -> None:
        """Removes a file, and the folders of its upload."""
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if self.uploads not in folder.parents:
                return
            with suppress(OSError):  # there is more in it
                folder.rmdir()

    def _is_old(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime < time.time() - self._keep_s
        except OSError:  # removed meanwhile
            return False
