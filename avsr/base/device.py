"""Where to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avsr.base.errors import AvsrError

if TYPE_CHECKING:
    import torch


def pick_device(name: str | torch.device) -> torch.device:
    """The device a name stands for.

    Raises:
        AvsrError: unknown, or not on this machine.
    """
    import torch

    name = str(name)  # torch.device too
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    kind, _, index = name.partition(":")
    if kind not in there or (index and not (kind == "cuda" and index.isdecimal())):
        raise AvsrError(
            f"device {name!r} is unknown: use auto, cpu, cuda, cuda:1 and the like, or mps"
        )
    if not there[kind] or (index and int(index) >= torch.cuda.device_count()):
        raise AvsrError(f"device {name!r} is not available on this machine: use auto or cpu")
    return torch.device(name)
