"""What a run starts from: a folder to write to, a vocabulary, weights of another model, what of it
is not trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avsr.base import outputs
from avsr.base.errors import AvsrError
from avsr.decoding.ctc import greedy
from avsr.eval.metrics.wer import count_errors
from avsr.imported.store import list_installed
from avsr.model import checkpoint
from avsr.model.batches import batches_by_length, compute, mask
from avsr.model.network import AVSR
from avsr.model.resize import with_outputs, with_tokens
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.text import spelt
from avsr.training.config import TrainConfig
from avsr.training.data.selection import Use, shown
from avsr.training.data.vocabulary import training_texts, vocabulary
from avsr.training.losses import Objective
from avsr.training.run.log import BOARD
from avsr.training.run.record import BEST, RECORD
from avsr.training.run.state import MODEL, STATE

AUDIO_ENCODER = "audio_encoder", "ear"  # whose it is; files of before say the latter
# of a model's info, what holds for every model that is trained on from it
LINEAGE = (*AUDIO_ENCODER, "license")
# by a run
WRITTEN = (
    "config.json",
    "dropped.txt",
    RECORD,
    STATE,
    f"{STATE}.tmp",
    MODEL,
    BEST,
    "bad_batch.safetensors",
)


def check_folder(out: Path, resume: bool) -> bool:
    """Refuses, before any work, a folder that a run could not write its files to.

    Args:
        out: folder of the run.
        resume: a run in it goes on.

    Returns:
        Whether a run was begun there and saved its state.

    Raises:
        AvsrError: something of another kind has the place of the folder or a file, or a run would
            be lost.
    """
    try:
        nearest = next(
            folder for folder in (out, *out.absolute().parents) if os.path.lexists(folder)
        )
        if not nearest.is_dir():
            raise AvsrError(f"{nearest} is there already and is no folder: choose another --out")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise AvsrError(f"{nearest}: cannot be written to: choose another --out")
        if os.path.lexists(out / BOARD) and not (out / BOARD).is_dir():
            raise AvsrError(
                f"{out / BOARD} is there already and is no folder: move it away or choose another "
                "--out"
            )
        for path in (out / name for name in WRITTEN):
            if os.path.lexists(path) and not path.is_file():
                raise AvsrError(
                    f"{path} is there already and is no file: move it away or choose another --out"
                )
        started = (out / STATE).exists()
    except OSError as error:
        raise AvsrError(
            f"{out}: cannot be written to ({error.strerror}): choose another --out"
        ) from error
    if started and not resume:
        raise AvsrError(
            f"{out} holds a run already: continue it with --resume or choose another --out"
        )
    if (out / MODEL).exists() and not started:
        raise AvsrError(
            f"{out} holds a {MODEL} already: choose another --out, so that it is not lost"
        )
    if not started:
        outputs.refuse([out / "config.json", out / "dropped.txt"], advice="choose another --out")
    return started


class Start:
    """What ``init`` names, or nothing.

    Attributes:
        tokenizer: its vocabulary and, behind it, the characters of the training texts that it
            lacks.
        shape: configuration of the model that is named.
        reads: configuration of the one that is trained.
        use: which modalities a clip must have.
        new: these characters.
        language: in which texts are spelt.
        lineage: what its info says of every model that is trained on from it.
    """

    def __init__(self, config: TrainConfig, data: Sequence[str | Path]) -> None:
        self.config = config
        self.source: AVSR | None = None
        info: dict[str, Any] = {}
        if config.init:
            imported = (entry.name for entry in list_installed())
            path = checkpoint.resolve(config.init, lambda: imported)
            self.source, info = checkpoint.load(path)
        self.lineage: dict[str, Any] = {key: info[key] for key in LINEAGE if key in info}
        self.shape = self.source.config if self.source else None
        self.new: list[str] = []
        split = config.data.train_split
        if self.source is None:
            self.language = config.tokens.language
            self.tokenizer = vocabulary(data, split, config.tokens)
        else:
            own = self.source.config
            self.language, known = own.language, Tokenizer.of(own.tokens, own.piece_scores)
            texts = (spelt(text, self.language) for text in training_texts(data, split))
            self.new = known.unknown({char for text in texts for char in text})
            self.tokenizer = known.grown(self.new)
        self.use: Use = config.data.use
        self.reads = config.network(self.tokenizer, self.language, self.shape)

    def network(self, say: Callable[[str], object]) -> AVSR:
        """The network to train, with the weights of ``init`` where they fit, frozen parts frozen.

        Raises:
            AvsrError: ``init_parts`` or ``freeze`` name parts that do not exist or do not fit.
        """
        model = AVSR(self.reads)
        if self.source:
            self._take_weights(model, self.source, say)
        elif self.config.freeze:
            say(
                f"no init is given: {', '.join(self.config.freeze)} stay at random; --set "
                "init=MODEL names a checkpoint"
            )
        for name in self.config.freeze:
            part(model, name).requires_grad_(False).eval()
        return model

    def objective(self, model: nn.Module) -> nn.Module:
        """The losses of the network."""
        assert isinstance(model, AVSR)
        return Objective(model, self.config.loss)

    def told(self, model: nn.Module) -> str:
        """What the network is, in a few words."""
        count = sum(p.numel() for p in model.parameters())
        return f"{self.reads.name}: {count / 1e6:.2f} M parameters, {self.reads.fusion} fusion"

    def error_rates(
        self, average: nn.Module, clips: Sequence[Clip], device: torch.device
    ) -> dict[str, float]:
        """WER on a few clips, with both modalities and with each alone."""
        texts = [clip.text or "" for clip in clips]
        rates = {}
        for name, modality in (("both", "av"), ("audio", "audio"), ("video", "video")):
            masked = [mask(clip, modality) for clip in clips]
            said = [""] * len(masked)
            for batch in batches_by_length(range(len(masked)), [clip.frames for clip in masked]):
                output = compute(average, [masked[i] for i in batch], device)
                for i, ids in zip(batch, greedy(output.log_probs, output.lens), strict=True):
                    said[i] = self.tokenizer.decode(ids)
            *errors, words = count_errors(texts, said).sum(0).tolist()
            rates[name] = sum(errors) / max(1, words)
        return rates

    def save(self, path: Path, average: nn.Module, info: dict[str, Any]) -> None:
        """Writes a model.

        Raises:
            AvsrError: it cannot be written.
        """
        assert isinstance(average, AVSR)
        checkpoint.save(path, average, info)

    def _take_weights(self, model: AVSR, source: AVSR, say: Callable[[str], object]) -> None:
        config, per_frame = self.config, model.config.outputs_per_frame
        if per_frame % source.config.outputs_per_frame == 0:
            source = with_outputs(source, per_frame)
        if source.config.audio_frontend != model.config.audio_frontend:
            say(
                f"the audio front end of {config.init} is of another kind and starts anew; "
                "avsr models encoder gives a network the audio encoder of Whisper"
            )
        grown: set[str] = set()
        if self.new:
            say(
                f"characters of the texts that {config.init} does not know: {shown(self.new)}. Its "
                "heads learn these "
                f"anew and keep those they know"
            )
            known, source = source.state_dict(), with_tokens(source, self.tokenizer.tokens)
            grown = {
                name
                for name, value in source.state_dict().items()
                if value.shape != known[name].shape
            }
        taken, whole = load_matching(model, source, config.init_parts)
        say(f"{len(taken)} of {whole} tensors taken from {config.init}, the others start anew")
        taken -= grown  # not whole: no part with such tensors can be frozen
        for name in config.freeze:
            missing = of_part(model.state_dict(), name) - taken
            if missing and config.init_parts:  # asked for
                say(
                    f"{name} is frozen and {len(missing)} of its tensors are in no init_parts: "
                    "they stay at random"
                )
            elif missing or of_part(source.state_dict(), name) - taken:
                raise AvsrError(
                    f"freeze: {name} of {config.init} has another shape and would stay at random: "
                    "take a model of "
                    f"the size {config.size}, or leave {name} out of freeze"
                )
        if not of_part(taken, "audio_frontend.encoder"):
            for key in AUDIO_ENCODER:
                self.lineage.pop(key, None)


def part(model: nn.Module, name: str) -> nn.Module:
    """A part of the network by its name, such as ``video_frontend`` or
    ``audio_frontend.encoder``."""
    try:
        found = model.get_submodule(name)
    except AttributeError:
        found = model
    if found is model or not found.state_dict():
        parts = ", ".join(child for child, module in model.named_children() if module.state_dict())
        raise AvsrError(
            f"no part {name!r} in the network: choose among {parts}, or what is in them"
        )
    return found


def of_part(names: Iterable[str], name: str) -> set[str]:
    """Those of the tensors' names that belong to a part."""
    return {key for key in names if key.startswith(f"{name}.")}


def load_matching(
    model: nn.Module, source: nn.Module, parts: Sequence[str] = ()
) -> tuple[set[str], int]:
    """Copies every weight whose name and shape agree; the rest keeps its fresh start. Parts that
    are named fit whole.

    Returns:
        Names of the tensors that were copied, and how many there are.

    Raises:
        AvsrError: there is no such part, or the source's has another shape.
    """
    own, kept = model.state_dict(), source.state_dict()
    fitting = {
        name: value
        for name, value in kept.items()
        if name in own and own[name].shape == value.shape
    }
    for name in parts:
        part(model, name)
        if not of_part(own, name) == of_part(fitting, name) == of_part(kept, name):
            raise AvsrError(
                f"{name} cannot be taken from init, whose {name} has another shape: leave it out"
            )
    if parts:
        fitting = {key: fitting[key] for name in parts for key in of_part(fitting, name)}
    model.load_state_dict(own | fitting)
    return set(fitting), len(own)
