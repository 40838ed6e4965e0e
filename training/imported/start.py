"""What a run that goes on from an imported network starts from, and what it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from avsr.base.errors import AvsrError
from avsr.decoding.ctc import greedy
from avsr.eval.metrics.wer import count_errors
from avsr.imported import store
from avsr.imported.autoavsr import AutoAVSR
from avsr.imported.model import LONGEST_S, ImportedModel
from avsr.imported.units import UnitsTokenizer
from avsr.imported.usr import USR
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.faces.crop_styles import OWN, RESEARCH
from avsr.preprocessing.streaming import ShardFolder
from avsr.preprocessing.text import spelt
from avsr.training.config import FROM_INIT, TrainConfig
from avsr.training.data.selection import Use
from avsr.training.imported.objective import HybridObjective, keep_statistics
from avsr.training.run.start import part

PLAIN = "en"  # spelling: small letters without punctuation, which all but Turkish share
NAMES = {"av": "both", "audio": "audio", "video": "video"}  # modality -> as a run tells it


@dataclass(frozen=True)
class ImportedReads:
    """What such a network says of the clips that it is trained on, see ``Reads``."""

    language: str
    crops: str
    longest: int | None = int(LONGEST_S * FPS)
    outputs_per_frame: int = 1
    n_mels: int = 80  # of masks that nobody looks at


class ImportedStart:
    """The imported network that ``init`` names; like ``Start``, for networks that are not ours.

    Attributes:
        config: the recipe, with what is frozen where it does not say.
        tokenizer: its vocabulary.
        reads: what it says of the clips.
        use: which modalities a clip must have.
        lineage: what its info says of every model that is trained on from it.
    """

    def __init__(self, config: TrainConfig, data: Sequence[str | Path]) -> None:
        self.config, self.init = config, str(config.init)
        _refuse_settings(config, self.init)
        self.description, self.source = store.read(self.init)
        if "freeze" not in config.model_fields_set:  # few clips say little about pictures
            front_ends = cast("AutoAVSR | USR", self.source).front_ends
            self.config = config.model_copy(update={"freeze": tuple(front_ends)})
        self.modalities = self._modalities()
        self.use = self._use()
        about = self.description
        self.tokenizer = UnitsTokenizer(about.pieces, about.piece_scores)
        self.reads = ImportedReads(config.tokens.language or PLAIN, _crops_of(data))
        self.lineage: dict[str, Any] = {"license": store.licence_note(about.network.family)}

    def _modalities(self) -> tuple[str, ...]:
        """Those that are trained."""
        able, use = self.description.network.modalities, self.config.data.use
        if use == "both":
            return able
        if use not in able:
            raise AvsrError(
                f"data.use = {use}: {self.init} takes {', '.join(able)}: leave data.use out, or "
                "name a network for it with init"
            )
        return (use,)

    def _use(self) -> Use:
        if self.modalities == ("audio",):
            return "audio"
        if self.modalities == ("video",):
            return "video"
        return "paired" if self.modalities == ("av",) else "both"

    def network(self, say: Callable[[str], object]) -> nn.Module:
        """The network to train, with the weights of ``init``, frozen parts frozen: the front ends
        where the recipe does not say.

        Raises:
            AvsrError: ``freeze`` names parts that do not exist.
        """
        network = cast("AutoAVSR | USR", self.source)
        say(self.lineage["license"])
        if not self.description.piece_scores:
            say(
                f"{self.init} was imported without the .model of its units: texts are cut into as "
                "few pieces as possible, which its authors' SentencePiece does not always do"
            )
        if self.reads.crops != RESEARCH.name:
            say(
                f"the shards have {self.reads.crops!r} crops and {self.init} was trained on "
                f"{self.description.crops!r}: it learns the new ones, and the model takes them"
            )
        for parameter in network.parameters():  # of its own, not of the file that it was read from
            parameter.data = parameter.data.clone()
        network.train().requires_grad_(True)
        keep_statistics(network)
        for name in self.config.freeze:
            part(network, name).requires_grad_(False).eval()
        frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
        say(f"{frozen / 1e6:.1f} M parameters are frozen" if frozen else "nothing is frozen")
        return network

    def objective(self, model: nn.Module) -> nn.Module:
        """The losses of the network."""
        return HybridObjective(cast("AutoAVSR | USR", model), self.config.loss)

    def told(self, model: nn.Module) -> str:
        """What the network is, in a few words."""
        count = sum(p.numel() for p in model.parameters())
        family, streams = self.description.network.family, ", ".join(self.modalities)
        return f"{self.init} ({family}, {streams}): {count / 1e6:.2f} M parameters"

    def error_rates(
        self, average: nn.Module, clips: Sequence[Clip], device: torch.device
    ) -> dict[str, float]:
        """WER by modality on the clips that have it: greedy CTC, which is fast, and less than the
        search that recognises makes of the network."""
        model = ImportedModel(self.init, cast("AutoAVSR | USR", average), self.description.pieces)
        rates = {}
        for modality in self.modalities:
            chosen = [clip for clip in clips if _has(clip, modality)]
            said = [self._said(model, clip, modality) for clip in chosen]
            texts = [self._spelt(clip) for clip in chosen]
            if texts:
                *errors, words = count_errors(texts, said).sum(0).tolist()
                rates[NAMES[modality]] = sum(errors) / max(1, words)
        return rates

    def _said(self, model: ImportedModel, clip: Clip, modality: str) -> str:
        lips, audio = torch.from_numpy(clip.lips), torch.from_numpy(clip.audio)
        _, log_probs = model.encode(modality, lips, audio)
        ids = greedy(log_probs[None].float().cpu(), torch.tensor([len(log_probs)]))[0]
        return self.tokenizer.decode(id for id in ids if id != len(self.tokenizer) - 1)

    def _spelt(self, clip: Clip) -> str:
        return self.tokenizer.fold(spelt(clip.text or "", self.reads.language))

    def save(self, path: Path, average: nn.Module, info: dict[str, Any]) -> None:
        """Writes a model that avsr transcribe and evaluate take.

        Raises:
            AvsrError: it cannot be written.
        """
        about = {"crops": self.reads.crops, "source": self.init}
        store.write_trained(path, average, self.description.model_copy(update=about), info)


def _has(clip: Clip, modality: str) -> bool:
    heard, seen = bool(clip.audio_present.any()), bool(clip.video_present.any())
    return (heard or modality == "video") and (seen or modality == "audio")


def _crops_of(data: Sequence[str | Path]) -> str:
    """The style of the mouth crops in shards.

    Raises:
        AvsrError: two folders have two.
    """
    found: dict[str, str] = {}
    for location in data:
        style = str(ShardFolder.of(location).index()[0].get("crops", OWN.name))
        found.setdefault(style, str(location))
    if len(found) > 1:
        places = " and ".join(f"{style!r} in {place}" for style, place in found.items())
        raise AvsrError(
            f"crops of several styles, {places}: a network reads one: prepare all with --crops "
            f"{RESEARCH.name}"
        )
    return next(iter(found))


def _refuse_settings(config: TrainConfig, init: str) -> None:
    """Says so where a recipe asks for what an imported network cannot do.

    Raises:
        AvsrError: it does.
    """
    shape = f"{init} is an imported network, which keeps its shape and its tokens"
    refused = [
        (config.size != FROM_INIT, f"size = {config.size}: {shape}: avsr train finetune"),
        (bool(config.model), f"model.{next(iter(config.model), '')}: {shape}: leave it out"),
        (bool(config.init_parts), f"init_parts: {init} is taken whole: leave it out"),
        (
            config.strategy == "fsdp",
            "strategy = fsdp: parts networks of ours alone: set strategy=ddp",
        ),
        (
            config.optim.compile == "on",
            "optim.compile = on: compiles blocks of ours alone: leave it out",
        ),
    ]
    for wrong, line in refused:
        if wrong:
            raise AvsrError(line)
