"""One job of an evaluation: a batch of clips under one condition, heard with each modality that has
a row.

A bench is what jobs are done at: the recogniser, the corpus, and the clips at hand. Every process
has its own.
"""

from __future__ import annotations

import math
import numbers
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from avsr.base.errors import AvsrError
from avsr.eval.conditions.axes import clip_digest
from avsr.eval.conditions.identity import Identity, partner
from avsr.eval.conditions.noise import CannotBuild, Corpus
from avsr.eval.conditions.suites import Row
from avsr.eval.metrics.hypotheses import Heard
from avsr.eval.run.encoders import Listener, Spent, our_recogniser
from avsr.eval.run.store import HypothesisStore
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardIndex

BATCH_CLIPS = 16  # decoded and held at once; whoever changes it changes the last bits of results


@dataclass(frozen=True)
class Setup:
    """What a process needs to set up a bench.

    Attributes:
        spec: of the recogniser, see `recognisers.registry.load`.
        data: shards with their index.json.
        split: of the clips that noise is made of; None is all.
        noise_dir: recorded noises, if any.
        rir_dir: recorded impulse responses, if any.
        device: where to compute.
    """

    spec: str
    data: str
    split: str | None
    noise_dir: str | None
    rir_dir: str | None
    device: str


@dataclass(frozen=True)
class Job:
    """A batch of clips under one condition.

    Attributes:
        batch: places of the clips in the index.
        seed: of the condition.
        rows: of one and the same condition.
    """

    batch: tuple[int, ...]
    seed: int
    rows: tuple[Row, ...]

    @property
    def keys(self) -> list[str]:
        return [row.key(self.seed) for row in self.rows]

    @property
    def size(self) -> int:
        """Clips to recognise, counted once a row."""
        return len(self.batch) * len(self.rows)


class Bench:
    """Does jobs.

    Args:
        recogniser: what hears.
        index: of the clips.
        setup: what of it is used; its spec and device are not looked at.

    Attributes:
        places: in the index, of all clips of the split.
        corpus: lends voices and lips to conditions; it is the whole split, however few clips are
            scored.
    """

    def __init__(self, recogniser: Any, index: ShardIndex, setup: Setup) -> None:
        self.index = index
        self.recogniser, self.name = recogniser, str(recogniser.name)
        self.listener = Listener(recogniser)
        self.places = index.select(setup.split)
        self._place = {index.entries[i].id: i for i in self.places}
        self.corpus = Corpus(
            self._place,
            lambda id: index.audio(self._place[id]),
            load_lips=self._lips,
            texts={index.entries[i].id: index.entries[i].text for i in self.places},
            speakers={index.entries[i].id: index.entries[i].speaker for i in self.places},
            noise_dir=setup.noise_dir,
            rir_dir=setup.rir_dir,
        )
        self._batch: tuple[tuple[int, ...], list[Clip]] = ((), [])

    def _lips(self, id: str) -> tuple[Any, Any]:
        clip = self.index.load(self._place[id])
        return clip.lips, clip.video_present

    def unchanged(self, job: Job, store: HypothesisStore) -> bool:
        """Whether kept hypotheses of a job are of the clips as they would be given now.

        All clean clips are looked at, and of those that something is done to the first of each
        batch: that tells a change of noise or of a library, for much less than giving all of them
        again.
        """
        steps = job.rows[0].condition.steps
        for i in job.batch[:1] if steps else job.batch:
            id = self.index.entries[i].id
            try:
                given = clip_digest(self.altered(id, job.rows[0], job.seed))[:16]
            except CannotBuild:
                return False
            if any(store.lines[key, id].clip_sha256 != given for key in job.keys):
                return False
        return True

    def altered(self, id: str, row: Row, seed: int) -> Clip:
        """One clip as the recogniser gets it in a row."""
        return row.condition.apply(self.index.load(self._place[id]), seed, self.corpus)

    def do(self, job: Job) -> list[Heard] | str:
        """Recognises the clips of a job.

        Returns:
            The lines for the hypothesis store, or why the corpus cannot give this condition.
        """
        begin = time.perf_counter()
        with one_thread():
            clips = self._clips(job.batch)
            try:
                altered = [self._altered(job, clip) for clip in clips]
                same = [self._same(job, *pair) for pair in zip(clips, altered, strict=True)]
            except CannotBuild as error:
                return str(error)
            found: list[tuple[int, dict[str, Any]]] = []  # (place of the clip, fields of its line)
            for row in job.rows:
                found += enumerate(self._heard(row, job.seed, clips, altered))
        network_s = sum(fields["seconds_network"] for _, fields in found)
        other_s = max(0.0, time.perf_counter() - begin - network_s)
        frames = max(sum(clip.frames for clip in clips) * len(job.rows), 1)
        lines = []
        for place, fields in found:
            share_s = round(other_s * clips[place].frames / frames, 6)
            lines.append(Heard(**fields, **same[place], seconds_other=share_s))
        return lines

    def _altered(self, job: Job, clip: Clip) -> Clip:
        return job.rows[0].condition.apply(clip, job.seed, self.corpus)

    def _heard(
        self, row: Row, seed: int, clips: Sequence[Clip], altered: Sequence[Clip]
    ) -> Iterator[dict[str, Any]]:
        """For each clip what was said, what was heard, what the masks said, its share of the
        seconds."""
        hypotheses, spent = self._asked(altered, row.modality)
        frames = max(sum(clip.frames for clip in altered), 1)
        for clip, given, hypothesis in zip(clips, altered, hypotheses, strict=True):
            text, weights = checked(hypothesis, f"{self.name}: clip {clip.id!r}")
            yield {
                "row": row.key(seed),
                "id": clip.id,
                "reference": "" if row.condition.empty else clip.text,
                "hypothesis": text,
                "frames": given.frames,
                "audio_present": _share(given.audio_present),
                "video_present": _share(given.video_present),
                "audio_weight": round(sum(weights) / len(weights), 4) if weights else None,
                "weighed_words": len(weights),
                "seconds": round(spent.alone_s * given.frames / frames, 6),
                "seconds_network": round(spent.network_s * given.frames / frames, 6),
            }

    def _asked(self, clips: Sequence[Clip], modality: str) -> tuple[Sequence[Any], Spent]:
        """One hypothesis a clip; whatever a system of others raises becomes one line, what is done
        is kept."""
        try:
            hypotheses, spent = self.listener.recognise(clips, modality)
        except Exception as error:
            if isinstance(error, AvsrError) or our_recogniser(self.recogniser) is not None:
                raise
            told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise AvsrError(
                f"{self.name}: failed on clips {clips[0].id!r} to {clips[-1].id!r}: {told}"
            ) from error
        if not hasattr(hypotheses, "__len__") or len(hypotheses) != len(clips):
            raise AvsrError(
                f"{self.name}: recognise must return a list with one hypothesis for each of the "
                "clips given"
            )
        return hypotheses, spent

    def _clips(self, batch: tuple[int, ...]) -> list[Clip]:
        """The clips of a batch, decoded once for all its jobs."""
        if self._batch[0] != batch:
            self._batch = batch, [self.index.load(i) for i in batch]
        return self._batch[1]

    def _same(self, job: Job, clip: Clip, given: Clip) -> dict[str, Any]:
        """What lines of all modalities share: a hash of the clip as it was given, what is missing
        of it, whose lips."""
        condition = job.rows[0].condition
        found: dict[str, Any] = {"clip_sha256": clip_digest(given)[:16]}
        if missing := condition.missing_ms(given, job.seed, self.corpus):
            found["missing_ms"] = missing
        for step in condition.steps:
            if isinstance(step, Identity) and step.kind == "other lips":
                other = partner(clip, job.seed, self.corpus)
                found["lips_reference"] = self.corpus.texts[other]
        return found


def _share(present: np.ndarray) -> float:
    """Of the frames that are there, (T,) bool."""
    return round(float(present.mean()), 4) if len(present) else 0.0


def checked(hypothesis: Any, where: str) -> tuple[str, list[float]]:
    """The text of a hypothesis, and the audio weights of its words where it has any.

    Raises:
        AvsrError: it has no text, or times or weights that are none.
    """
    text = getattr(hypothesis, "text", None)
    if not isinstance(text, str):
        found = type(hypothesis if text is None else text).__name__
        raise AvsrError(
            f"{where}: {found} is no hypothesis; it needs a `text`, which is empty where nothing "
            "was said"
        )
    weights = []
    for word in getattr(hypothesis, "words", None) or ():
        for name in ("start_s", "end_s", "confidence", "audio_weight"):
            value = getattr(word, name, None)
            if value is None:
                continue
            if not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise AvsrError(
                    f"{where}: {name} of the word {getattr(word, 'word', '?')!r} is {value!r}; "
                    "give a number"
                )
            if name == "audio_weight":
                weights.append(float(value))
    # half of a surrogate pair cannot be written
    return text.encode("utf-8", "replace").decode(), weights


def do(setup: Setup, job: Job) -> list[Heard] | str:
    """Does a job at the bench of this process, which the first job sets up; see `Bench.do`."""
    return _bench(setup).do(job)


@lru_cache(maxsize=1)
def _bench(setup: Setup) -> Bench:
    from avsr.recognisers.registry import load

    return Bench(load(setup.spec, setup.device), ShardIndex(setup.data), setup)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch, so that sums come in one order and results do not depend on who
    computes them."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
