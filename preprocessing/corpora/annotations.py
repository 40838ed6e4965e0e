"""What people annotate recordings with: Praat's TextGrids and subtitles."""

from __future__ import annotations

from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.base.inputs import install
from avsr.preprocessing.clip import WordTimes
from avsr.preprocessing.corpora import plain

WORD_TIERS = ("words", "word", "orthography", "ort-mau")
TEXT_TIERS = ("text", "transcript", "transcription", "sentence", "sentences", "utterance")
SILENCES = frozenset({"", "sil", "sp", "spn", "<eps>", "<p:>", "#", "_"})

Cue = tuple[float, float, str]
"""Start and end in seconds, and what is said."""


def read_textgrid(path: Path) -> tuple[str, WordTimes | None]:
    """What a TextGrid says, and its word times where it has a tier of words.

    Taken is the tier named as one of WORD_TIERS (a label is a word) or of TEXT_TIERS (labels are
    joined), and the only tier where there is one. Labels of silence are left out.

    Raises:
        ValueError: it is no TextGrid, or it has several tiers and none of these names.
        AvsrError: praatio, which reads it, is not installed.
    """
    try:
        from praatio import textgrid
    except ImportError as error:
        raise AvsrError(f"{path}: TextGrids need praatio: {install('praatio')}") from error
    try:
        grid = textgrid.openTextgrid(
            str(path), False, reportingMode="silence", duplicateNamesMode="rename"
        )
    except Exception as error:  # of a damaged file: whatever its parser trips over
        raise ValueError(f"{plain(path.name)} is no TextGrid that can be read") from error
    name = _tier(list(grid.tierNames), plain(path.name))
    entries = [
        (entry.label.strip(), float(entry.start), float(entry.end))
        for entry in grid.getTier(name).entries
        if hasattr(entry, "start") and entry.label.strip().lower() not in SILENCES
    ]
    text = " ".join(" ".join(label.split()) for label, _, _ in entries)
    if name.lower() in TEXT_TIERS or any(" " in label for label, _, _ in entries):
        return text, None
    return text, tuple(entries) or None


def _tier(names: list[str], file: str) -> str:
    """The tier of what is said.

    Raises:
        ValueError: several, and it is none of them.
    """
    for known in (*WORD_TIERS, *TEXT_TIERS):
        for name in names:
            if name.strip().lower() == known:
                return name
    if len(names) == 1:
        return names[0]
    raise ValueError(
        f"{file} has the tiers {', '.join(map(plain, names)) or 'none'}; name that of the words "
        f"{WORD_TIERS[0]!r}, or that of the text {TEXT_TIERS[0]!r}"
    )


def read_cues(path: Path) -> list[Cue]:
    """The cues of a subtitle file, in order; those without text are left out.

    Raises:
        ValueError: it holds no subtitles that can be read.
        AvsrError: pysubs2, which reads it, is not installed.
    """
    try:
        import pysubs2
    except ImportError as error:
        raise AvsrError(f"{path}: subtitles need pysubs2: {install('pysubs2')}") from error
    try:
        events = pysubs2.load(str(path), encoding="utf-8-sig")
    except (pysubs2.exceptions.Pysubs2Error, UnicodeError, ValueError) as error:
        raise ValueError(f"{plain(path.name)} holds no subtitles that can be read") from error
    cues = []
    for event in sorted(events, key=lambda event: (event.start, event.end)):
        said = " ".join(event.plaintext.split())
        if said and not event.is_comment:
            cues.append((event.start / 1000, event.end / 1000, said))
    if not cues:
        raise ValueError(f"{plain(path.name)} holds no subtitles that can be read")
    return cues
