"""Audio-visual speech recognition: hears, reads lips, and keeps working when one of them is missing.

import avsr

model = avsr.load_model()
print(model.transcribe("talk.mp4").text)
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avsr.preprocessing.errors import AvsrError
    from avsr.transcribe import Recogniser, Transcript, load_model, transcribe

    __version__: str

__all__ = ["AvsrError", "Recogniser", "Transcript", "__version__", "load_model", "transcribe"]


class _Package(ModuleType):
    """What the package offers comes when it is asked for, so that the command line is there before numpy and torch.

    A function `__getattr__` of the module (PEP 562) would do, but for one name: whoever imports the module
    avsr.transcribe sets `avsr.transcribe` to that module, and only a property of the class keeps it the function.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("avsr")
        if name == "AvsrError":
            from avsr.preprocessing.errors import AvsrError

            return AvsrError
        if name in __all__:
            from importlib import import_module

            return getattr(import_module("avsr.transcribe"), name)
        raise AttributeError(f"module 'avsr' has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})

    @property
    def transcribe(self) -> Any:
        """The function, whoever imports the module of the same name."""
        return self.__getattr__("transcribe")

    @transcribe.setter
    def transcribe(self, module: ModuleType) -> None:
        """Called by Python's import system; the module is in sys.modules all the same."""


sys.modules[__name__].__class__ = _Package
