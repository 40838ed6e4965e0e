"""What can be evaluated: our checkpoints and anybody's recogniser, behind one small interface.

`docs/recognisers.md` says how to plug in one's own; the adapters for other systems are in
`peers.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

import numpy as np

from avsr.base.errors import AvsrError, UsageError
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip
from avsr.transcribing.transcribe import Hypothesis, load_model, mask

MODALITIES = ("av", "audio", "video")
FORMS = (
    "a name from `avsr models`, a .safetensors file, either with ?grammar=grid or ?beam=8 behind "
    "it, "
    "faster-whisper:SIZE_OR_FOLDER, python:MODULE:FUNCTION or command:'PROGRAM {media}'"
)


class Recogniser(Protocol):
    """What the evaluation needs of a recogniser.

    Attributes:
        name: what it is called in results.
        sha256: tells it from any other model or setting; results of one are never taken for those
            of another.
        modalities: what it can work with, some of "av", "audio" and "video".
    """

    name: str
    sha256: str
    modalities: tuple[str, ...]

    def recognise(self, clips: Sequence[Clip], modality: str) -> Sequence[Any]:
        """One hypothesis per clip, in the order given.

        Args:
            clips: as a condition left them; the masks say what is there, and may be wrong on
                purpose.
            modality: one of `modalities`; what it leaves out must not be used.

        Returns:
            Objects with a `text`, and with `words` (see `transcribing.transcript.Word`) where it
            knows their times.
        """


def load_recogniser(spec: str, device: str = "auto") -> Recogniser:
    """Loads a recogniser by what it is called on the command line.

    Args:
        spec: one of FORMS. For "python:" the working folder is added to the end of the module
            search path.
        device: where to compute, as in `load_model`; systems of others that choose for themselves
            ignore it.

    Raises:
        UsageError: a spec of no such form, or options in it that are unknown or contradict each
            other.
        AvsrError: no such recogniser, or one that cannot be loaded here.
    """
    from avsr.eval.run import peers

    kind, colon, rest = spec.partition(":")
    if kind == "faster-whisper":
        return peers.FasterWhisper(rest, device)
    if kind == "python":
        return peers.PythonFunction(rest)
    if kind == "command":
        return peers.Command(rest)
    if colon and not Path(spec).exists():
        raise UsageError(f"recogniser {spec!r}: {kind!r} is unknown; give {FORMS}")
    return Checkpoint(spec, device)


class Checkpoint:
    """A model of ours.

    Args:
        spec: a name or path as in `load_model`, and how to decode where that is not greedily:
            "default?beam=8", "default?grammar=grid", "default?lm=words.arpa&lm_weight=0.3".
        device: as in `load_model`.

    Attributes:
        recogniser: the loaded model, for who wants more of it than words.
        about: how it decodes, for people.
    """

    modalities: tuple[str, ...] = MODALITIES

    def __init__(self, spec: str | Path, device: str = "auto") -> None:
        from avsr.decoding import language
        from avsr.model import checkpoint

        name, _, query = str(spec).partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        try:
            beam = int(options.pop("beam")) if "beam" in options else None
            lm, grammar, weight = (options.pop(key, None) for key in ("lm", "grammar", "lm_weight"))
            spoken = language.load(
                lm, grammar=grammar, lm_weight=None if weight is None else float(weight)
            )
        except ValueError as error:
            raise UsageError(
                f"recogniser {spec}: give beam as a whole number and lm_weight as a number"
            ) from error
        if options:
            raise UsageError(
                f"recogniser {spec}: {next(iter(options))!r} is unknown; give beam, lm, lm_weight, "
                "grammar"
            )
        try:
            path = checkpoint.resolve(name)
        except AvsrError as error:
            raise AvsrError(f"{error}; a recogniser is {FORMS}") from error
        self.recogniser = load_model(path, device).with_decoding(beam, spoken)
        self.name = self.recogniser.name
        files = [path, *(Path(file) for file in (lm, grammar) if file and Path(file).is_file())]
        # Greedy is the plain model: its results are those of the file alone.
        self.sha256 = digest(
            [*(file.read_bytes() for file in files), *([query.encode()] if query else [])]
        )
        self.device = self.recogniser.device
        self.about = f"avsr on {self.device}, {self.recogniser.decoding}"

    def recognise(self, clips: Sequence[Clip], modality: str = "av") -> list[Hypothesis]:
        return self.recogniser.recognise(clips, modality)


class Adapter:
    """Base of the adapters for systems of others, which take one clip at a time and may know
    nothing of masks.

    Such a system hears silence and sees black wherever a mask says that nothing is there; where
    that is everywhere, it is not asked, and the hypothesis is empty. It is never told the text.

    Attributes:
        about: how it decodes, for people; part of what its results depend on.
    """

    name: str
    sha256: str
    modalities: tuple[str, ...]
    about: str = ""

    def recognise(self, clips: Sequence[Clip], modality: str) -> list[Hypothesis]:
        """See `Recogniser.recognise`.

        Raises:
            AvsrError: a modality that the system does not have, or a failure of the system.
        """
        if modality not in self.modalities:
            raise AvsrError(
                f"{self.name}: knows no modality {modality!r}; it takes "
                f"{', '.join(self.modalities)}"
            )
        given = [as_given(clip, modality) for clip in clips]
        return [self.hear(clip) if is_there(clip) else Hypothesis("", [], 0.0) for clip in given]

    def hear(self, clip: Clip) -> Hypothesis:
        """What one clip says.

        Args:
            clip: from `as_given`, not empty.
        """
        raise NotImplementedError


def as_given(clip: Clip, modality: str) -> Clip:
    """The clip as a system without masks gets it: silence and black where nothing is there; its
    text is withheld."""
    clip = mask(clip, modality)
    heard = np.repeat(clip.audio_present, SAMPLES_PER_FRAME)
    return replace(
        clip,
        audio=np.where(heard, clip.audio, np.float32(0)),
        lips=np.where(clip.video_present[:, None, None], clip.lips, np.uint8(0)),
        text=None,
    )


def is_there(clip: Clip) -> bool:
    """Whether the masks leave anything of the clip."""
    return bool(clip.audio_present.any() or clip.video_present.any())


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 of all parts as a hexadecimal string; of one part, that of `sha256sum`."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()
