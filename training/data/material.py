"""One person's own recordings as clips to adapt to: videos, texts beside them, prepared shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.corpora.beside import beside, forget_listings, read_transcript
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.preprocessing.reader import load_clip, stream_clips
from avsr.preprocessing.recordings import MEDIA_SUFFIXES, media_below
from avsr.preprocessing.shards import INDEX, ShardIndex, ShardWriter
from avsr.recognisers.protocol import Recogniser
from avsr.training.data.labels import Label, is_sure, label, limit_of
from avsr.training.data.spelling import respelt

LONGEST_S = 30.0  # of a video with one text
WINDOW_S = 20.0  # of a video without


@dataclass(frozen=True)
class Material:
    """What a model is adapted to.

    Attributes:
        clips: how many there are, with texts, and how long they are in all.
        seconds: of media in them.
        labels: of those whose text a recogniser gave, the ones left out among them.
        least: the confidence from which on these are used.
    """

    clips: int
    seconds: float
    labels: Sequence[Label]
    least: float

    @property
    def kept(self) -> list[Label]:
        """The labels that are used."""
        return [found for found in self.labels if is_sure(found.confidence, self.least)]


def collect(
    paths: Sequence[Path],
    dst: Path,
    recogniser: Callable[[], Recogniser],
    least: float,
    spell: Callable[[str], str],
    relabel: bool = False,
    share: float | None = None,
    tell: Callable[[float, float], None] = lambda done, of: None,
) -> Material:
    """Writes the clips of one person as shards, each with a text.

    Args:
        paths: videos, folders of videos, and prepared folders.
        dst: a new folder for the shards.
        recogniser: gives texts to clips that have none; loaded if there are any.
        least: its confidence from which on a text is kept.
        spell: how texts are written for the model that is adapted.
        relabel: it gives texts to clips that have one, too.
        share: of the texts that it gives, what is kept in place of what ``least`` says.
        tell: told how many of the paths are done, and of how many.

    Raises:
        AvsrError: a path is missing or cannot be read, or no clip with lips is left.
    """
    forget_listings()
    sources = [source for path in paths for source in _sources(path)]
    used, seconds, seen = 0, 0.0, 0
    labels: list[Label] = []
    with ShardWriter(dst) as writer:

        def add(clip: Clip) -> None:
            nonlocal used, seconds, seen
            id = f"{used:05d}-{clip.id}"
            clip = replace(respelt(clip, spell), id=id, speaker="adapted", start_s=0.0)
            writer.add(clip)
            used, seconds = used + 1, seconds + clip.duration_s
            seen += bool(clip.video_present.any())

        for number, source in enumerate(sources):
            unknown = []
            for clip in _clips(source):
                if clip.text and not relabel:
                    add(clip)
                else:
                    unknown.append(clip)
            if unknown:
                labels += label(unknown, recogniser())
            tell(number + 1, len(sources))
        least = limit_of([found.confidence for found in labels], least, share)
        for found in labels:
            if is_sure(found.confidence, least):
                add(found.clip)
    if not seen:
        why = "there are no lips in them"
        if labels and not used:
            surest = max(found.confidence for found in labels)
            why = f"no text was sure enough (the surest is {surest:.2f})"
        raise AvsrError(
            f"nothing to adapt to in {len(sources)} recordings: {why}; give others, put texts "
            "beside them, or lower --min-confidence"
        )
    return Material(used, seconds, labels, least)


def _sources(path: Path) -> list[Path]:
    """A video or prepared folder, or the videos in a folder.

    Raises:
        AvsrError: there is nothing.
    """
    if path.is_file() or (path / INDEX).is_file():
        return [path]
    found = media_below(path, MEDIA_SUFFIXES) if path.is_dir() else []
    if not found:
        raise AvsrError(f"{path}: no such file, nor a folder with videos or shards in it")
    return found


def _clips(source: Path) -> Iterator[Clip]:
    """What a recording or prepared folder holds; a recording with one text beside it is one
    clip."""
    if source.is_dir():
        index = ShardIndex(source)
        index.require_crops(OWN.name, "adapting")
        for i in range(len(index)):
            yield index.load(i)
        return
    text_path = beside(source, ".txt")
    if text_path is None:
        for number, clip in enumerate(stream_clips(source, window_s=WINDOW_S)):
            yield replace(clip, id=f"{clip.id}-{number:03d}")
        return
    try:
        text, words = read_transcript(text_path)
    except (ValueError, OSError) as error:
        raise AvsrError(f"{text_path}: {error}") from error
    yield replace(load_clip(source, text=text, longest_s=LONGEST_S), words=words)
