"""How much `avsr adapt` helps a person, and what it costs everybody else.

    python tests/training/measure_adapting.py MODEL SHARDS [--split train] [--speakers s5,s31]
        [--clips 10] [--swap] [--teachers texts,own,whisper-base] [--keep SHARE] [--steps N]
        [--rank N] [--lr X] [--draw N] [--seed N]

Of each speaker some prepared clips are adapted to and the others are the test; with --swap then the
other way round. Everybody else in SHARDS shows what is forgotten, four clips each.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from avsr.eval.conditions.axes import Condition, Noise
from avsr.eval.conditions.suites import Row
from avsr.eval.metrics.wer import UNITS, count_errors
from avsr.eval.run.jobs import Bench, Setup
from avsr.model.adapter import attach
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardIndex, ShardWriter
from avsr.recognisers import ours, registry
from avsr.recognisers.protocol import Recogniser
from avsr.training.adapt import Settings, adapt
from avsr.training.data.material import collect
from avsr.training.data.spelling import speller

SEED = 17  # of babble
BABBLE_DB = 0.0
LEAST = 0.8  # confidence from which on a recognised text is used, as in avsr adapt
OTHERS = 4  # clips of each of the others
TEXTS, OWN = "texts", "own"  # teachers: the known texts, the model itself


@dataclass
class Tested:
    """A clip as it is and in babble."""

    clean: Clip
    babble: Clip


class Errors:
    """Wrong words and words, by what is counted."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, what: str, wrong: int, words: int) -> None:
        self.counts[what][0] += wrong
        self.counts[what][1] += words

    def __str__(self) -> str:
        return "  ".join(f"{what} {wrong}/{words}" for what, (wrong, words) in self.counts.items())


def main() -> None:
    args = arguments()
    index = ShardIndex(args.shards)
    base = ours.load(args.model, "cpu")
    bench = Bench(base, index, Setup(args.model, args.shards, args.split, None, None, "cpu"))
    row = Row(Condition((Noise("babble", BABBLE_DB),)))
    of_speaker: dict[str, list[Tested]] = defaultdict(list)
    for place in bench.places:
        clip = index.load(place)
        speaker = clip.speaker or ""
        of_speaker[speaker].append(Tested(clip, bench.altered(clip.id, row, SEED)))
    for clips in of_speaker.values():
        random.Random(args.draw).shuffle(clips)
    settings = Settings(steps=args.steps, rank=args.rank, lr=args.lr, seed=args.seed)
    for teacher in args.teachers.split(","):
        totals: dict[str, Errors] = {"before": Errors(), "after": Errors()}
        for speaker in args.speakers.split(","):
            halves = [(of_speaker[speaker][: args.clips], of_speaker[speaker][args.clips :])]
            halves += [(halves[0][1], halves[0][0])] if args.swap else []
            others = [
                tested
                for other, clips in of_speaker.items()
                if other != speaker
                for tested in clips[:OTHERS]
            ]
            for known, test in halves:
                one(base, teacher, speaker, known, test, others, settings, args.keep, totals)
        for name, errors in totals.items():
            print(f"{teacher} ALL {name}: {errors}", flush=True)


def one(
    base: ours.NetworkRecogniser,
    teacher: str,
    speaker: str,
    known: Sequence[Tested],
    test: Sequence[Tested],
    others: Sequence[Tested],
    settings: Settings,
    keep: float | None,
    totals: dict[str, Errors],
) -> None:
    """Adapts to some clips of one speaker; says and adds up what is wrong before and after."""
    begin = time.process_time()
    score(base, test, others, (before := Errors()), totals["before"])
    with TemporaryDirectory() as scratch:
        clips = [tested.clean for tested in known]
        labels = learn(base, teacher, clips, Path(scratch), settings, keep)
        spent = time.process_time() - begin
        score(base, test, others, (after := Errors()), totals["after"])
        forget(base)
    print(f"{teacher} {speaker} before: {before}\n{teacher} {speaker} after:  {after}")
    print(f"{teacher} {speaker}: {labels}, {spent:.0f} s of processor time", flush=True)


def learn(
    base: ours.NetworkRecogniser,
    teacher: str,
    clips: Sequence[Clip],
    scratch: Path,
    settings: Settings,
    keep: float | None,
) -> str:
    """Adapts the model in place, as avsr adapt does it; returns how good the texts were."""

    def labeller() -> Recogniser:
        return base if teacher == OWN else registry.load(teacher, "cpu")

    texts = {clip.id: clip.text or "" for clip in clips}
    with ShardWriter(scratch / "known") as writer:
        for clip in clips:
            writer.add(clip if teacher == TEXTS else replace(clip, text=None, words=None))
    spell = speller(base.config)
    folders = [scratch / "known"]
    material = collect(folders, scratch / "clips", labeller, LEAST, spell, share=keep)
    changes = adapt(base.model, [scratch / "clips"], settings, say=print)
    trained = {name: change.state_dict() for name, change in changes.items()}
    parts = sorted({name.split(".")[0] for name in trained})
    for name, change in attach(base.model, parts, settings.rank).items():
        change.load_state_dict(trained[name])
    kept = material.kept
    if not kept:
        return f"{material.clips} clips with texts"
    heard = [spell(label.clip.text or "") for label in kept]
    wrong, words = counted([texts[label.clip.id] for label in kept], heard)
    return f"{material.clips} of {len(clips)} clips kept, {wrong} of {words} words wrong in them"


def forget(base: ours.NetworkRecogniser) -> None:
    """The model as it was."""
    from torch.nn.utils import parametrize

    for module in base.model.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def score(
    recogniser: Recogniser, test: Sequence[Tested], others: Sequence[Tested], *into: Errors
) -> None:
    """Counts wrong words, of the person's test clips and of others."""
    for whose, clips in (("own", test), ("others", others)):
        clean, babble = [tested.clean for tested in clips], [tested.babble for tested in clips]
        for name, heard, modality in (
            ("lips", clean, "video"),
            ("babble", babble, "av"),
        ):
            found = recogniser.recognise(heard, modality)
            wrong, words = counted(
                [clip.text or "" for clip in clean], [said.text for said in found]
            )
            for errors in into:
                errors.add(f"{whose} {name}", wrong, words)


def counted(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[int, int]:
    """Wrong words, and words."""
    counts = count_errors(references, hypotheses).sum(0)
    return int(counts[:UNITS].sum()), int(counts[UNITS])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("shards")
    parser.add_argument("--split", default="train")
    parser.add_argument("--speakers", default="s2,s3,s5,s30,s31")
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--swap", action="store_true")
    parser.add_argument("--teachers", default=f"{TEXTS},{OWN},whisper-base")
    parser.add_argument("--keep", type=float, help="share of the texts, as in avsr adapt")
    parser.add_argument("--draw", type=int, default=0, help="which clips are adapted to")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
