"""Audio-visual speech recognition: hears, reads lips, and keeps working when one of them is
missing.

import avsr

model = avsr.load_model()
print(model.transcribe("talk.mp4").text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avsr.base.errors import AvsrError
    from avsr.transcribing.transcribe import Recogniser, Transcript, load_model, transcribe

    __version__: str

__all__ = ["AvsrError", "Recogniser", "Transcript", "__version__", "load_model", "transcribe"]


def __getattr__(name: str) -> Any:
    """What the package offers comes when it is asked for (PEP 562), so that help waits for no
    torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("avsr")
    if name == "AvsrError":
        from avsr.base.errors import AvsrError

        return AvsrError
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("avsr.transcribing.transcribe"), name)
    raise AttributeError(f"module 'avsr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
