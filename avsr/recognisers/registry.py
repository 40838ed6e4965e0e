"""Which recognisers there are: one line for each family, and the one way to load any of them.

A family is a module with three names:

    FORM                  how one of it is written, for people
    claims(spec)          whether a specification is meant for it; costs nothing
    load(spec, device)    the recogniser, see `recognisers.base.Recogniser`

It may have more:

    names()               those on this machine, each with a line about it
    offered()             the names of those that can be fetched
    get(name, tell, told) fetches one
    remove(name)          takes one away, and says how many bytes are free
    lip_readers()         names of those on this machine that know any word and need no sound
    polyglots()           names of those on this machine that know many languages by sound, the
                          smallest first; they have `language_of`
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.base import settings
from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import path_of
from avsr.model import checkpoint
from avsr.recognisers.base import Recogniser

if TYPE_CHECKING:
    import torch

    from avsr.preprocessing.clip import Clip
    from avsr.transcribing.doctor.advice import Models

DEFAULT = "default"  # what `avsr models default` chose, else the bundled model

# The first that claims a specification gets it: our own take what nobody else does.
FAMILIES = (
    "avsr.recognisers.command",
    "avsr.recognisers.pair",
    "avsr.recognisers.function",
    "avsr.recognisers.whisper",
    "avsr.recognisers.imported",
    "avsr.recognisers.ours",
)


def load(spec: str | Path, device: str | torch.device = "auto") -> Recogniser:
    """Loads a recogniser by what it is called on the command line.

    Args:
        spec: in one of the forms of `forms()`.
        device: "auto" takes the best there is; "cpu", "cuda" (or "cuda:1") and "mps" insist.
            Systems of others that choose for themselves ignore it.

    Raises:
        UsageError: a form that no family knows, or options in it that are unknown or contradict
            each other.
        AvsrError: no such recogniser, not even the chosen default, or one that cannot be loaded
            here.
    """
    path = path_of(spec, "model")
    named = spec if isinstance(spec, str) else str(path)  # as a path, "a//b" would be "a/b"
    if not named:
        raise UsageError(f"model '': give a name (there are {', '.join(known())}), or a file")
    name, mark, options = named.partition("?")
    if name == DEFAULT and (chosen := settings.default_model()):
        if not is_known(chosen):
            raise AvsrError(
                f"model {chosen!r}, which was chosen with avsr models default, is no longer there: "
                f"get it again, or choose another: avsr models default {checkpoint.DEFAULT}"
            )
        named = chosen + mark + options
    for family in map(import_module, FAMILIES):
        if family.claims(named):
            return family.load(named, device)
    kind = named.partition(":")[0]
    raise UsageError(f"recogniser {named!r}: {kind!r} is unknown; give {forms()}")


def takes_adapter(spec: str) -> bool:
    """Whether a specification is that of one network of ours, which alone `avsr adapt` adapts."""
    name, mark, options = spec.partition("?")
    if name == DEFAULT:
        spec = (settings.default_model() or DEFAULT) + mark + options
    claiming = (name for name in FAMILIES if import_module(name).claims(spec))
    return next(claiming, "") == FAMILIES[-1]


def known() -> list[str]:
    """The names of all recognisers on this machine."""
    from avsr.imported import store

    imported = [entry.name for entry in store.list_installed()]
    return list(dict.fromkeys([*checkpoint.names(), *imported, *others()]))


def is_known(spec: str) -> bool:
    """Whether a recogniser on this machine, or two in one, are called so, options aside."""
    parts = [part.partition("?")[0] for part in spec.split("+")]
    return set(parts) <= set(known())


def others() -> dict[str, str]:
    """Name -> what it is, of the recognisers on this machine that families list themselves."""
    found: dict[str, str] = {}
    for family in map(import_module, FAMILIES):
        found |= getattr(family, "names", dict)()
    return found


def lip_reader() -> str | None:
    """The name of an installed model that reads lips without sound and knows any word."""
    for family in map(import_module, FAMILIES):
        names: list[str] = getattr(family, "lip_readers", list)()
        if names:
            return names[0]
    return None


def polyglots() -> list[str]:
    """The names of those on this machine that know many languages by sound, the smallest first."""
    found: list[str] = []
    for family in map(import_module, FAMILIES):
        found += getattr(family, "polyglots", list)()
    return found


def for_advice() -> Models:
    """What there is on this machine for any words; of several that hear, the one listed last, which
    is the largest."""
    from avsr.transcribing.doctor.advice import Models

    hears, many = list(others()), polyglots()
    default = settings.default_model() or checkpoint.DEFAULT
    return Models(
        default,
        hears[-1] if hears else None,
        lip_reader(),
        polyglot=many[-1] if many else None,
    )


def language_of(clip: Clip) -> tuple[str, float] | None:
    """The code of the language that is most likely spoken in a clip and how likely it is, by the
    smallest model that can tell; None where there is none on this machine that can be loaded."""
    for name in polyglots():
        try:
            teller = load(name, "cpu")
        except AvsrError:
            continue
        return teller.language_of(clip)  # type: ignore[attr-defined,no-any-return]  # a polyglot
    return None


def offered() -> list[str]:
    """The names that `get` takes."""
    found: list[str] = []
    for family in map(import_module, FAMILIES):
        found += getattr(family, "offered", list)()
    return found


def get(name: str, tell: Callable[[float, float], None], told: Callable[[str], None]) -> Path:
    """Fetches a recogniser that is to be had.

    Args:
        name: one of `offered`.
        tell: told the bytes that were fetched, and all there are.
        told: told in a line what is fetched and how large it is, before it is.

    Raises:
        UsageError: no family offers it.
        AvsrError: it cannot be fetched.
    """
    for family in map(import_module, FAMILIES):
        if name in getattr(family, "offered", list)():
            return family.get(name, tell, told)
    raise UsageError(f"model {name!r}: cannot be fetched; there are {', '.join(offered())}")


def remove(name: str) -> int | None:
    """Takes away what `get` fetched, or a family put together.

    Returns:
        The bytes that are free now; None where no family has it.

    Raises:
        AvsrError: it cannot be taken away.
    """
    for family in map(import_module, FAMILIES):
        if name in getattr(family, "names", dict)() and hasattr(family, "remove"):
            return family.remove(name)
    return None


def forms() -> str:
    """How recognisers are written, for messages."""
    found = [import_module(family).FORM for family in FAMILIES]
    return ", ".join(found[:-1]) + f" or {found[-1]}" if len(found) > 1 else found[0]
