"""Audio-visual speech recognition: hears, reads lips, and keeps working when one of them is missing.

import avsr

model = avsr.load_model()
print(model.transcribe("talk.mp4").text)
"""

from __future__ import annotations

# Not lazy: importing the module avsr.transcribe later would put it where the function of that name stands.
# It is quick, because the module itself imports torch and the media libraries only when they are used.
from avsr.transcribe import Transcript, load_model, transcribe

__all__ = ["Transcript", "__version__", "load_model", "transcribe"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("avsr")
    raise AttributeError(f"module 'avsr' has no attribute {name!r}")
