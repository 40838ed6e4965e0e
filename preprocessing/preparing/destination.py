"""The folder that a corpus is prepared into: whose it is, who writes there, and what it was made
from."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import Item, below
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.preprocessing.index import parse_index
from avsr.preprocessing.preparing.job import PARTS
from avsr.preprocessing.preparing.store import FolderStore, Store
from avsr.preprocessing.shards import INDEX, versions

MADE_FROM = "made_from.json"
LOCK = ".lock"


def fingerprint(items: Sequence[Item], root: Path) -> str:
    """A hash of what the corpus says and how big its files are; the place of the corpus does not
    enter."""
    digest = hashlib.sha256()
    for item in items:
        size = item.path.stat().st_size if item.path.is_file() else None
        row = asdict(item) | {"path": below(item.path, root), "size": size}
        row.pop("sound")
        row.pop("untold")  # its problem says so, until it is given a text
        for later in ("span", "cell"):  # shards of versions that knew none stay what they are
            if row[later] is None:
                row.pop(later)
        if item.sound is not None:
            row |= {"sound": below(item.sound, root), "sound_size": item.sound.stat().st_size}
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


@contextmanager
def writing(store: Store) -> Iterator[None]:
    """Holds the destination against a second run, where it is a folder, and turns the errors of its
    disk into one line.

    Raises:
        AvsrError: another run is writing there, or nothing can be written there.
    """
    try:
        with _held(store.folder) if isinstance(store, FolderStore) else nullcontext():
            yield
    except OSError as error:
        raise AvsrError(
            f"{store.place}: cannot write there ({error.strerror or error}); what is done so far "
            "is kept: mend this and run the same command again"
        ) from error


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder, made where it is not there, and locked."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "w") as lock:
        if not _lock(lock.fileno()):
            raise AvsrError(
                f"{folder}: another run is preparing it at this moment; wait for it or stop it"
            )
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)


def _lock(descriptor: int) -> bool:
    """Takes the lock, which the system gives back however the process ends. True also where there
    are no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def claim(store: Store, made_from: dict[str, Any]) -> bool:
    """Makes the destination ours, or sees that it is; True where an earlier run began it.

    Raises:
        AvsrError: it holds something else, or shards of another source or other settings.
    """
    record = f"{PARTS}/{MADE_FROM}"
    there = store.names()
    if INDEX in there:
        then = whole_index(store).get("made_from")
        then = then if isinstance(then, dict) else {}
        now = made_from
    elif store.size(record) is not None:
        then = _record(store.read(record))
        # half of the clips by one version and half by another is no corpus
        now = made_from | {"versions": versions()}
    else:
        foreign = sorted(there - {PARTS, LOCK})
        if foreign:
            raise AvsrError(
                f"{store.place} is not empty ({foreign[0]}); choose a new folder for the shards"
            )
        store.write(record, [json.dumps(made_from | {"versions": versions()}).encode()])
        return False
    then = {"crops": OWN.name} | then  # shards of earlier versions
    names = dict.fromkeys([*now, *({"limits"} & then.keys())])
    other = [name for name in names if then.get(name) != now.get(name)]
    if other:
        raise AvsrError(
            f"{store.place} holds shards made from another source or with other settings "
            f"({', '.join(other)}); choose a new folder, or remove that one"
        )
    return True


def whole_index(store: Store) -> dict[str, Any]:
    """The index of complete shards.

    Raises:
        AvsrError: it is damaged, or a shard is not there or too short.
    """
    again = "choose a new folder, or remove this one and run the same command again"
    name = f"{store.place}/{INDEX}"
    try:
        index, entries = parse_index(store.read(INDEX), name)
    except AvsrError as error:
        raise AvsrError(f"{str(error).rpartition('; ')[0]}; {again}") from error
    lacking = next((name for name in ("counts", "hours") if index.get(name) is None), None)
    if lacking:
        raise AvsrError(f"{name}: {lacking} is missing; {again}")
    ends: Counter[str] = Counter()
    for entry in entries:
        ends[entry.shard] = max(ends[entry.shard], sum(entry.span))
    for shard, end in ends.items():
        size = store.size(shard)
        if size is None or size < end:
            fault = "missing" if size is None else "cut short"
            raise AvsrError(f"{store.place}/{shard}: {fault}; {again}")
    return index


def _record(content: bytes) -> dict[str, Any]:
    """A JSON object of ours; empty where the file holds something else."""
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
