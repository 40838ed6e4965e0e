"""Research checkpoints that a user imported: open vocabulary, by sound, by lips, or by both.

T  frames, 25 a second        V  vocabulary        D  width of the encoder
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import content, digest
from avsr.decoding.words import Hypothesis, Word, join, mean
from avsr.model.batches import mask
from avsr.preprocessing.clip import FPS, Clip
from avsr.recognisers.base import Recogniser
from avsr.recognisers.protocol import STREAMS
from avsr.transcribing.segments import Segment, filled, plan

if TYPE_CHECKING:
    import torch

    from avsr.decoding.language import Language
    from avsr.imported.model import ImportedModel

FORM = (
    "the name of an imported model or the file of one that was trained on, "
    "either with ?beam=20 or ?greedy behind it"
)
BEAM = 10  # the published ones are 40, for a few tenths of a percent
# of a word that was heard and seen: these networks do not tell how much of it was heard
BOTH = 0.5


def claims(spec: str) -> bool:
    from avsr.imported import store

    return store.is_one(spec.partition("?")[0])


def load(spec: str, device: Any = "auto") -> ImportedRecogniser:
    """Loads an imported model, and those that it needs where one of its streams is away.

    Args:
        spec: NAME or NAME?option&option, or a file in place of the name: `beam=N` is the width of
            the search, `greedy` takes the best token of each frame, which is fastest.
        device: as in `pick_device`.

    Raises:
        UsageError: unknown options, or ones that contradict each other.
        AvsrError: the model is damaged, or no such device.
    """
    from avsr.imported import store

    name, _, query = spec.partition("?")
    beam = _beam(spec, query)
    model = store.load(name, device)
    models = dict.fromkeys(model.modalities, model)
    for modality, other in _companions(model).items():
        models[modality] = store.load(other, device)
    return ImportedRecogniser(spec, models, model.modalities, beam)


def lip_readers() -> list[str]:
    """Names of the imported models that read lips without sound."""
    from avsr.imported import store

    found = []
    for entry in store.list_installed():
        if entry.description is not None and "video" in entry.description.network.modalities:
            found.append(entry.name)
    return found


def _beam(spec: str, query: str) -> int:
    """The width of the search, 0 for greedy."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    greedy, beam = options.pop("greedy", None), options.pop("beam", None)
    if options or greedy not in (None, "") or (greedy is not None and beam not in (None, "1")):
        raise UsageError(f"recogniser {spec}: give ?beam=N or ?greedy")
    if beam is not None and (not beam.isdecimal() or int(beam) < 1):
        raise UsageError(f"recogniser {spec}: beam {beam!r} must be a whole number from 1 on")
    return 0 if greedy is not None else int(beam or BEAM)


def _companions(model: ImportedModel) -> dict[str, str]:
    """Modality -> another imported model for it, where a network that needs both streams has
    one with the same tokens."""
    from avsr.imported import store

    found: dict[str, str] = {}
    if "av" not in model.modalities:
        return found
    for entry in store.list_installed():
        about = entry.description
        if about is None or entry.name == model.name or about.pieces != model.pieces:
            continue
        if about.crops != model.crops:
            continue
        for modality in about.network.modalities:
            if modality not in model.modalities:
                found.setdefault(modality, entry.name)
    return found


class ImportedRecogniser(Recogniser):
    """Networks that know no masks, each asked for what it was trained on.

    Where one of the streams is away for long, that part goes to the network of the stream that is
    left: what stands in absent frames cannot change a word, and with a stream away throughout, the
    words are those of the other one alone.

    Args:
        name: what it is called, its options among them.
        models: modality -> the network that reads it.
        own: the modalities of the model that was named; the others are its companions'.
        beam: of the search; 0 for greedy.
    """

    longest_s = 15.0

    def __init__(
        self, name: str, models: dict[str, ImportedModel], own: Sequence[str], beam: int = BEAM
    ) -> None:
        from avsr.model.tokenizer import Tokenizer

        first = models[own[0]]
        self.name, self.models = name, models
        self.modalities = tuple(stream for stream in STREAMS if stream in models)
        self.crops, self.longest_s = first.crops, first.longest_s
        self.device = first.device
        self.tokenizer = Tokenizer.of(first.pieces)
        self._lacking: set[str] = set()
        self._search_by(beam)

    def _search_by(self, beam: int) -> None:
        self.beam = beam
        kinds = {modality: model.name for modality, model in self.models.items()}
        how = f"beam {beam}" if beam else "greedy"
        self.about = f"{how}, {json.dumps(kinds, sort_keys=True)}"

    @property
    def sha256(self) -> str:  # type: ignore[override]  # gigabytes are read when asked for
        """Of all files of the models, and of how they are searched."""
        models = {model.name: model for model in self.models.values()}
        files = [path for _, model in sorted(models.items()) for path in model.files]
        chunks = (chunk for path in files for chunk in content(path))
        return digest([self.about.encode(), *chunks])

    def with_decoding(self, beam: int | None = None, language: Language | None = None) -> Self:
        if language is not None:
            raise UsageError(f"{self.name}: takes no n-gram model or grammar; import one with --lm")
        other = copy.copy(self)
        other._search_by(BEAM if beam is None else beam)
        return other

    def recognise(self, clips: Sequence[Clip], modality: str = "av") -> list[Hypothesis]:
        if modality not in self.modalities:
            raise AvsrError(
                f"{self.name}: knows no modality {modality!r}; it takes "
                f"{', '.join(self.modalities)}"
            )
        return [self._clip(mask(clip, modality)) for clip in clips]

    def _clip(self, clip: Clip) -> Hypothesis:
        """The words of one clip, segment by segment."""
        words: list[Word] = []
        for segment in plan(clip, round(self.longest_s * FPS)):
            words += self._segment(clip, segment)
        return Hypothesis(join(words), words, mean([word.confidence for word in words]))

    def _segment(self, clip: Clip, segment: Segment) -> list[Word]:
        """The words of frames in which the same streams are there."""
        import torch

        from avsr.decoding.pieces import piece_times

        modality = self._reads(segment.modality)
        if modality is None:
            return []
        model, part = self.models[modality], filled(clip, segment)
        lips, audio = torch.from_numpy(part.lips), torch.from_numpy(part.audio)
        with torch.inference_mode():
            memory, log_probs = model.encode(modality, lips, audio)
        log_probs = log_probs.float().cpu()
        ids = self._ids(model, modality, memory, log_probs)
        if not ids:
            return []
        heard = {"audio": 1.0, "video": 0.0}.get(modality, BOTH)
        begin_s = clip.start_s + segment.first / FPS
        found = []
        for span in piece_times(log_probs, ids, self.tokenizer):
            start_s, end_s = begin_s + span.first / FPS, begin_s + span.last / FPS
            found.append(Word(span.word, start_s, end_s, span.confidence, heard, span.glued))
        return found

    def _reads(self, streams: str) -> str | None:
        """Which network reads a segment with these streams; None where none can."""
        if streams in self.models:
            return streams
        if streams == "av":  # one of a single stream leaves the other one alone
            return self.modalities[0]
        if self.modalities == ("av",) and streams not in self._lacking:
            self._lacking.add(streams)
            other = {"audio": "pictures", "video": "sound"}[streams]
            logging.getLogger(__name__).warning(
                "%s: parts without %s are left out: import a model of the same tokens for %s alone",
                self.name,
                other,
                streams,
            )
        return None

    def _ids(
        self, model: ImportedModel, modality: str, memory: torch.Tensor, log_probs: torch.Tensor
    ) -> tuple[int, ...]:
        """The tokens of a segment.

        Args:
            model: that read it.
            modality: as what.
            memory: (T, D).
            log_probs: (T, V) float32.
        """
        import torch

        from avsr.decoding.attention.joint import JointSearch, joint_search
        from avsr.decoding.ctc import greedy

        if not self.beam:
            lens = torch.tensor([len(log_probs)])
            end = log_probs.shape[1] - 1
            return tuple(id for id in greedy(log_probs[None], lens)[0] if id != end)
        decoder, lm = model.scorers(modality)
        options = JointSearch(beam=self.beam, lm_weight=model.lm_weight(modality))
        return joint_search(log_probs, memory, decoder, lm, options)[0].ids
