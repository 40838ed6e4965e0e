"""Our own networks: clips to words, either modality missing or both there.

B  clips in a batch        T  frames, 25 a second        N  audio samples, 640 T        U  tokens
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, quote

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import digest, path_of
from avsr.decoding.words import Hypothesis, Word, join, mean
from avsr.model.batches import batches_by_length, compute, mask
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import FPS, Clip
from avsr.recognisers.base import Recogniser
from avsr.recognisers.protocol import stream_for
from avsr.transcribing.voice.activity import Activity, everything, somebody

if TYPE_CHECKING:
    import torch

    from avsr.decoding.alignment import WordSpan
    from avsr.decoding.grammar import Grammar
    from avsr.decoding.language import Decoding, Language
    from avsr.model.network import AVSR

FORM = (
    "a name from `avsr models` or a .safetensors file, "
    "either with ?grammar=grid, ?beam=8 or ?adapter=FILE behind it"
)
IMPOSSIBLE = -1e4  # a log probability
WINDOW_S = 20.0  # a model may name its own in its checkpoint's info ("window_s") ...
# ... between these: a shorter one cuts words, a longer one has no bound on memory
WINDOW_RANGE_S = (1.0, 120.0)


def claims(spec: str) -> bool:
    """Any name that no other family claims is a model's."""
    return ":" not in spec.partition("?")[0] or os.path.exists(spec)


def load(spec: str | Path, device: str | torch.device = "auto") -> NetworkRecogniser:
    """Loads a model of ours.

    Args:
        spec: a name or path as in `checkpoint.resolve`, and how to decode where that is not
            greedily: "default?beam=8", "default?grammar=grid",
            "default?lm=words.arpa&lm_weight=0.3"; "default?adapter=anna/adapter.safetensors" adds
            what `avsr adapt` learnt.
        device: as in `pick_device`.

    Raises:
        UsageError: unknown or contradictory options.
        AvsrError: no such model, an unreadable one, or no such device.
    """
    from avsr.base.device import pick_device
    from avsr.model import checkpoint
    from avsr.recognisers import registry

    spec = str(spec)
    name, _, query = (spec, "", "") if os.path.exists(spec) else spec.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    adapter = options.pop("adapter", None)
    beam, language, files = _searched(spec, options)
    path, chosen = checkpoint.resolve(name, registry.known), pick_device(device)
    model, info = checkpoint.load(path, device=str(chosen))
    called = _called(path)
    if adapter is not None:
        called = f"{called} for {_adapted(model, path, Path(adapter))}"
        files.append(Path(adapter))
    loaded = NetworkRecogniser(model, called, info, chosen, somebody)
    if query:
        loaded = loaded.with_decoding(beam, language)
    loaded.made_of = [path, *files], query
    return loaded


def _adapted(model: AVSR, path: Path, adapter: Path) -> str:
    """Adds an adapter to a model that was loaded from this path, and returns what it is called."""
    from avsr.model import checkpoint
    from avsr.model.adapter import apply

    apply(model, adapter, checkpoint.weights_sha256(path))
    return _called(adapter)


def with_adapter(spec: str | Path, adapter: str | Path) -> str:
    """The specification of a model of ours with an adapter."""
    mark = "&" if "?" in str(spec) and not os.path.exists(spec) else "?"
    return f"{spec}{mark}adapter={quote(str(path_of(adapter, 'adapter')))}"


def _called(path: Path) -> str:
    """What a model is called: by its file, or by its run where every run calls its file alike."""
    alike = path.name in ("model.safetensors", "adapter.safetensors")
    run = path.resolve().parent.name if alike else ""
    return run or path.stem


def _searched(spec: str, options: dict[str, str]) -> tuple[int | None, Language | None, list[Path]]:
    """Beam, language and its files from the options behind a question mark, which are taken
    out."""
    from avsr.decoding import language

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
            "grammar, adapter"
        )
    return beam, spoken, [Path(file) for file in (lm, grammar) if file and Path(file).is_file()]


class NetworkRecogniser(Recogniser):
    """A loaded model with its tokenizer, on its device. Made by load_model.

    Attributes:
        name: what the model is called in transcripts.
        config: the model's frozen configuration.
        info: what its maker says about it (data, numbers, limits).
        device: where it runs.
        window_s: longest stretch recognised at once in transcribe; shorter files are one window.
        decoding: how, where a call does not say; greedy unless made by with_decoding.
        lexicon: its words in any order, with which files are transcribed where nobody asks for
            another search; None for a model of any words.
        made_of: the files and options that it was loaded from; None where that is not all.
        activity: where in a clip transcribe looks for words: everywhere, or, for a model loaded by
            name or path, where somebody speaks.
    """

    def __init__(
        self,
        model: AVSR,
        name: str,
        info: dict[str, Any],
        device: torch.device,
        activity: Activity = everything,
    ) -> None:
        from avsr.decoding.alignment import Timing
        from avsr.decoding.confidence import Calibration
        from avsr.decoding.domain import Domain
        from avsr.decoding.language import Decoding

        self.model = model
        self.name = name
        self.config = model.config
        self.info = info
        self.device = device
        self.tokenizer = Tokenizer.of(model.config.tokens, model.config.piece_scores)
        # what each of them writes: for language models and grammars
        self.tokens = [self.tokenizer.written(i) for i in range(len(self.tokenizer))]
        self.window_s = _window_s(info)
        self.timing = Timing.from_info(info)
        self.calibration = Calibration.from_info(info)
        self.calibrated = self.calibration is not None
        grammar = own_grammar(info)
        self.domain = Domain.from_info(info, grammar.follows() if grammar else frozenset())
        self.lexicon = grammar.lexicon() if grammar else None
        self.vocabulary = "closed" if grammar else "open"
        self.activity = activity
        self.made_of: tuple[list[Path], str] | None = None
        self._decode_by(Decoding())

    def _decode_by(self, decoding: Decoding) -> None:
        self.decoding, self.language = decoding, decoding.language
        self.about = f"avsr on {self.device}, {decoding}"

    @property
    def sha256(self) -> str:  # type: ignore[override]  # read when asked for: most never ask
        """Of the file and how it decodes; empty where the weights or the decoding come from
        memory."""
        if self.made_of is None:
            return ""
        files, query = self.made_of
        # greedy is the plain model: its results are those of the file alone
        return digest(
            [*(file.read_bytes() for file in files), *([query.encode()] if query else [])]
        )

    def with_decoding(self, beam: int | None = None, language: Language | None = None) -> Self:
        """The same recogniser with another decoding than greedy where a call does not name one.

        Args:
            beam: width of the prefix beam search; None for the usual one.
            language: from `avsr.decoding.language.load`; None for none.

        Raises:
            AvsrError: as in `Decoding.choose`.
        """
        from avsr.decoding.language import Decoding

        if beam is None and language is None:
            return self
        other = copy.copy(self)
        other._decode_by(Decoding.choose(beam, language, self.tokens))
        other.lexicon = None
        other.made_of = None
        return other

    def without_lexicon(self) -> Self:
        # a search that is named takes the place of the model's own
        return self if self.lexicon is None else self.with_decoding(0)

    def recognise(
        self,
        clips: Sequence[Clip],
        modality: str = "auto",
        beam: int | None = None,
        language: Language | None = None,
    ) -> list[Hypothesis]:
        """Recognises clips short enough for one window each, several at a time.

        Args:
            clips: what to recognise; word times count from their start_s.
            modality: "auto" and "av" use all that is present, "audio" and "video" hide the other.
            beam: width of the prefix beam search, 0 for greedy; None for the usual one.
            language: an n-gram model or a grammar, see `avsr.decoding.language.load`.

        Returns:
            One hypothesis per clip, in the order given. A clip in which nothing is present says
            nothing.

        Raises:
            AvsrError: unknown modality, or a beam or language that cannot be used.
        """
        decoding = self._decoding(modality, beam, language)
        if not isinstance(clips, Sequence) or not all(isinstance(clip, Clip) for clip in clips):
            raise AvsrError(
                "clips must be a list of avsr.preprocessing.clip.Clip: for media files use "
                "transcribe"
            )
        return self._recognise(clips, modality, decoding)

    def asked(
        self, modality: str, beam: int | None = None, language: Language | None = None
    ) -> Self:
        if beam is None and language is None:
            language = self.lexicon
        return super().asked(modality, beam, language)

    def recognise_part(
        self, clips: Sequence[Clip], modality: str, closed: bool
    ) -> list[Hypothesis]:
        return self._recognise(clips, modality, self.decoding, closed)

    def synchronised(self, clips: Iterable[Clip], remarks: list[str]) -> Iterator[Clip]:
        from avsr.transcribing.synchronising.synchroniser import Synchroniser

        synchroniser = Synchroniser(self)
        yield from synchroniser(clips)
        remarks += synchroniser.remarks

    def _recognise(
        self, clips: Sequence[Clip], modality: str, decoding: Decoding, closed: bool = True
    ) -> list[Hypothesis]:
        """As recognise; not closed: what is said goes on after the clips."""
        visible = [mask(clip, modality) for clip in clips]
        found = [Hypothesis("", [], 0.0)] * len(visible)
        usable = [
            i
            for i, clip in enumerate(visible)
            if clip.audio_present.any() or clip.video_present.any()
        ]
        for batch in batches_by_length(usable, [clip.frames for clip in visible]):
            hypotheses = self._forward([visible[i] for i in batch], decoding, closed)
            for i, hypothesis in zip(batch, hypotheses, strict=True):
                found[i] = hypothesis
        return found

    def _decoding(self, modality: str, beam: int | None, language: Language | None) -> Decoding:
        """How to decode, from what a call names; raises where that, or the modality, makes no
        sense."""
        from avsr.decoding.language import Decoding

        stream_for(self, modality)
        if beam is None and language is None:
            return self.decoding
        return Decoding.choose(beam, language, self.tokens)

    def spans(
        self, clips: Sequence[Clip], decoding: Decoding | None = None, closed: bool = True
    ) -> list[tuple[list[WordSpan], list[float]]]:
        """The words of clips on their own clock, echoes dropped, as the posteriors have them, from
        one forward pass.

        Args:
            clips: in which something is present; together they must fit into memory.
            decoding: the recogniser's own by default.
            closed: what is said ends with the clips.

        Returns:
            Per clip its words, their confidence not calibrated, and the audio_weight of each: over
            its letters, because what lies around them belongs to it only more or less.
        """
        from avsr.decoding.alignment import forced_align_batch, without_echoes, word_times

        decoding = decoding or self.decoding
        output = compute(self.model, clips, self.device)
        log_probs, lens, weight = (
            output.log_probs.float().cpu(),
            output.lens.cpu(),
            output.audio_weight.float().cpu(),
        )
        if self.model.decoder is not None and decoding.beam and decoding.language is None:
            texts = self._jointly(log_probs, lens, output.memory, decoding.beam)
        else:
            texts = decoding.ids(output.log_probs.float(), lens, self.tokens, closed)
        posteriors = [
            clip[:outputs] for clip, outputs in zip(log_probs, lens.tolist(), strict=True)
        ]
        placed = forced_align_batch(posteriors, texts)
        found = []
        for i, (own, ids, outputs) in enumerate(zip(posteriors, texts, placed, strict=True)):
            about = self.tokenizer, self.timing, self.config.outputs_per_frame
            words = word_times(own, ids, *about, outputs)
            once = without_echoes(words)
            # a language says itself what may be said twice
            if decoding.language is None and len(once) < len(words):
                words = word_times(own, self.tokenizer.encode(join(once)), *about)
            letters = [
                slice(math.floor(word.letters[0]), math.ceil(word.letters[1])) for word in words
            ]
            found.append((words, [float(weight[i, frames].mean()) for frames in letters]))
        return found

    def _jointly(
        self, log_probs: torch.Tensor, lens: torch.Tensor, memory: torch.Tensor | None, beam: int
    ) -> list[Sequence[int]]:
        """The ids that CTC and the attention decoder together find most probable, clip by clip.

        Args:
            log_probs: (B, R T, U) on the CPU.
            lens: (B,) outputs that count.
            memory: (B, T, D) that the decoder reads.
            beam: width of the search.
        """
        from torch.nn.functional import pad

        from avsr.decoding.attention.joint import JointSearch, joint_search
        from avsr.model.layers.decoder import DecoderScorer

        assert self.model.decoder is not None
        assert memory is not None
        scorer, options = DecoderScorer(self.model.decoder), JointSearch(beam=beam)
        found: list[Sequence[int]] = []
        for clip, outputs, read in zip(log_probs, lens.tolist(), memory, strict=True):
            # CTC knows no token that ends a text
            spelt = pad(clip[:outputs], (0, 1), value=IMPOSSIBLE)
            frames = outputs // self.config.outputs_per_frame
            found.append(joint_search(spelt, read[:frames].float(), scorer, None, options)[0].ids)
        return found

    def _forward(self, clips: list[Clip], decoding: Decoding, closed: bool) -> list[Hypothesis]:
        """One forward pass over clips in which something is present."""
        found = []
        for clip, (spans, heard) in zip(clips, self.spans(clips, decoding, closed), strict=True):
            words = self._words(spans, heard, clip)
            found.append(Hypothesis(join(words), words, mean([w.confidence for w in words])))
        return found

    def _words(self, spans: Sequence[WordSpan], heard: Sequence[float], clip: Clip) -> list[Word]:
        """Words in seconds of the source, their confidence calibrated where the model says how."""
        from avsr.decoding.confidence import word_features

        sure = [span.confidence for span in spans]
        if self.calibration is not None:
            sure = [self.calibration(features) for features in word_features(spans, heard)]
        found = []
        for span, confidence, weight in zip(spans, sure, heard, strict=True):
            start_s, end_s = (clip.start_s + at / FPS for at in (span.first, span.last))
            letters = tuple(
                (clip.start_s + first / FPS, clip.start_s + last / FPS)
                for first, last in span.places
            )
            found.append(Word(span.word, start_s, end_s, confidence, weight, span.glued, letters))
        return found


def own_grammar(info: dict[str, Any]) -> Grammar | None:
    """The grammar of what a model knows, where its maker names one.

    Raises:
        AvsrError: it is none that this version knows.
    """
    from avsr.decoding.grammar import GRAMMARS, load_grammar

    name = info.get("grammar")
    if name is None:
        return None
    if name not in GRAMMARS:
        known = ", ".join(GRAMMARS)
        raise AvsrError(
            f"the model's grammar is {name!r}: must be one of {known}; use another model"
        )
    return load_grammar(name)


def _window_s(info: dict[str, Any]) -> float:
    """The window that a model asks for, or the usual one.

    Raises:
        AvsrError: it is no number, or out of range.
    """
    value, (low, high) = info.get("window_s", WINDOW_S), WINDOW_RANGE_S
    if not isinstance(value, (int, float)) or not low <= value <= high:
        raise AvsrError(
            f"the model's window_s is {value!r}: must be {low:g} to {high:g} seconds; use another "
            "model"
        )
    return float(value)
