"""Which recognisers there are: one line for each family, and the one way to load any of them.

A family is a module with three names:

    FORM                  how one of it is written, for people
    claims(spec)          whether a specification is meant for it; costs nothing
    load(spec, device)    the recogniser, see `recognisers.base.Recogniser`
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.base.errors import UsageError
from avsr.base.inputs import path_of
from avsr.recognisers.base import Recogniser

if TYPE_CHECKING:
    import torch

# The first that claims a specification gets it: our own take what nobody else does.
FAMILIES = (
    "avsr.recognisers.command",
    "avsr.recognisers.function",
    "avsr.recognisers.whisper",
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
        AvsrError: no such recogniser, or one that cannot be loaded here.
    """
    path = path_of(spec, "model")
    named = spec if isinstance(spec, str) else str(path)  # as a path, "a//b" would be "a/b"
    for family in map(import_module, FAMILIES):
        if family.claims(named):
            return family.load(named, device)
    kind = named.partition(":")[0]
    raise UsageError(f"recogniser {named!r}: {kind!r} is unknown; give {forms()}")


def forms() -> str:
    """How recognisers are written, for messages."""
    known = [import_module(family).FORM for family in FAMILIES]
    return ", ".join(known[:-1]) + f" or {known[-1]}" if len(known) > 1 else known[0]
