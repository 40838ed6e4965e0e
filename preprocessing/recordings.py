"""Which files of a folder are recordings: one decision, for corpora and for whoever names a
folder."""

from __future__ import annotations

import os
from pathlib import Path

_MPEG = {".mpg", ".mpeg", ".mpe", ".vob", ".ts", ".mts", ".m2ts"}
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".3gp", ".wmv", ".flv", ".ogv"} | _MPEG
)
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"})
MEDIA_SUFFIXES = VIDEO_SUFFIXES | AUDIO_SUFFIXES
COPIES = (".synced", ".captions")  # end the stem of a copy that avsr makes of a film


def media_below(
    folder: Path,
    suffixes: frozenset[str] = VIDEO_SUFFIXES,
    unreadable: list[OSError] | None = None,
) -> list[Path]:
    """All files in a tree with these suffixes, sorted.

    Hidden files and folders (also macOS's `._name`) are left out, and so is what is no file, such
    as a pipe. Links to files count as files; links to folders are not followed, for they may lead
    in circles.

    Args:
        folder: top of the tree.
        suffixes: in lower case; those of files count in any.
        unreadable: the errors of folders that cannot be read are added.
    """
    found = []
    told = None if unreadable is None else unreadable.append
    for below, folders, names in os.walk(folder, onerror=told):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(below, name)
            if path.suffix.lower() in suffixes and not name.startswith(".") and path.is_file():
                found.append(path)
    return sorted(found)
