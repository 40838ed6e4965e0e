"""avsr prepare: a corpus to shards."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsr.base.console import note, printable, progress
from avsr.base.errors import UsageError
from avsr.cli.options import Corpus, Crops, Engine, EngineOption, KeepOption, Splits, least_of

if TYPE_CHECKING:
    from avsr.recognisers.protocol import Recogniser

LEAST = 0.9  # confidence of a text that is kept
UNLABELLED = "unlabelled"  # in DST: the shards before a recogniser gave them texts

CorpusArgument = Annotated[
    Corpus, typer.Argument(help="How SRC is laid out; folder: videos with .txt beside them.")
]
SourceArgument = Annotated[Path, typer.Argument(metavar="SRC", help="The corpus.")]
DestinationArgument = Annotated[
    str, typer.Argument(metavar="DST", help="Folder or URL for the shards.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=0, help="Processes; one for each core by default, 0 works in this one."),
]
CropsOption = Annotated[
    Crops,
    typer.Option(help="How mouths are cut out: own for training, research for imported models."),
]
SplitsOption = Annotated[
    Splits | None,
    typer.Option(help="Standard splits of grid, in place of lists in SRC; see the corpora."),
]
DownloadOption = Annotated[
    str | None,
    typer.Option(
        metavar="s1,s2,...|all",
        help="Fetch these speakers of grid to SRC first, from its official archive.",
    ),
]
FaceOption = Annotated[
    float, typer.Option(min=0, max=1, help="Share of a clip's frames with a face, at least.")
]
MouthOption = Annotated[
    float,
    typer.Option(min=0, metavar="PIXELS", help="Width of the mouth in the video, at least."),
]
RateOption = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LEAST MOST", help="Characters of text a second, from and to."),
]
SyncOption = Annotated[
    float | None,
    typer.Option(
        min=-1,
        max=1,
        metavar="COSINE",
        help="How well sound and lips fit, at least; 0.5 for speech like GRID's.",
    ),
]
ClipLimitOption = Annotated[
    float,
    typer.Option(min=1, metavar="SECONDS", help="A clip that takes longer is left out."),
]
ReportOption = Annotated[
    bool,
    typer.Option("--report", help="Also write DST/quality.md and DST/contact-sheet.png."),
]
LabelOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The recogniser that gives texts to recordings of a folder without one.",
    ),
]
SpellingOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="With --label-with: the model that will be trained; texts are written as it writes.",
    ),
]
ConfidenceOption = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help=f"With --label-with: what is less sure is left out; {LEAST} by default."
    ),
]
MaxSkippedOption = Annotated[
    float,
    typer.Option(min=0, max=1, help="Share of the clips over which the run fails."),
]


def prepare(
    corpus: CorpusArgument,
    src: SourceArgument,
    dst: DestinationArgument,
    engine: EngineOption = Engine.local,
    workers: WorkersOption = None,
    crops: CropsOption = Crops.own,
    splits: SplitsOption = None,
    download: DownloadOption = None,
    min_face: FaceOption = 0.0,
    min_mouth: MouthOption = 0.0,
    rate: RateOption = None,
    min_sync: SyncOption = None,
    clip_limit: ClipLimitOption = 600.0,
    report: ReportOption = False,
    label_with: LabelOption = None,
    label_for: SpellingOption = None,
    min_confidence: ConfidenceOption = None,
    keep: KeepOption = None,
    max_skipped: MaxSkippedOption = 0.2,
) -> None:
    """Cut a corpus into shards of lips and sound, ready to train on. Run it again to go on after a
    stop."""
    from avsr.preprocessing.prepare import LostTooMuch
    from avsr.preprocessing.prepare import prepare as run
    from avsr.preprocessing.preparing.quality import Limits
    from avsr.sync_fit import load_fit

    if download is not None:
        _fetch(corpus, src, download)
    labelled, recogniser = dst, None
    if label_for is not None and label_with is None:
        raise UsageError("--label-for says how the texts of --label-with are written: give both")
    least = least_of(min_confidence, keep, LEAST)
    spell = _spelling_of(label_for)
    if label_with is not None:
        recogniser = _recogniser_of_labels(corpus, dst, label_with)
        dst = f"{dst}/{UNLABELLED}"
    try:
        with progress(f"{corpus.value} {src}", unit="clips") as tell:
            summary = run(
                corpus.value,
                src,
                dst,
                engine=engine.value,
                workers=workers,
                crops=crops.value,
                splits=splits.value if splits else None,
                untold=label_with is not None,
                limits=Limits(min_face, min_mouth, *(rate or (0.0, math.inf)), min_sync),
                load_fit=load_fit,
                clip_limit_s=clip_limit,
                max_loss=max_skipped,
                progress=lambda done, total, _: tell(done, total),
            )
    except LostTooMuch:  # its shards are complete
        if report:
            _report(dst)
        raise
    if report:
        _report(dst)
    print(*map(printable, str(summary).splitlines()), sep="\n")
    if recogniser is not None:
        _label(dst, labelled, recogniser, least, keep, spell)


def _recogniser_of_labels(corpus: Corpus, dst: str, name: str) -> Recogniser:
    """Who gives texts; refuses --label-with where it has no meaning, before any work."""
    from avsr.preprocessing.shards import INDEX
    from avsr.recognisers.registry import load

    if "://" in dst:
        raise UsageError(f"{dst}: --label-with writes to a folder of this machine; name one")
    if corpus is not Corpus.folder:
        raise UsageError(f"--label-with is for a folder of your own; {corpus.value} has its texts")
    if (Path(dst) / INDEX).is_file():
        raise UsageError(f"{dst} holds shards already: choose another folder, or remove it")
    return load(name)


def _spelling_of(model: str | None) -> Callable[[str], str]:
    """How a model writes; as it is written where none is named."""
    if model is None:
        return str
    from avsr.imported import store
    from avsr.imported.units import UnitsTokenizer
    from avsr.model import checkpoint
    from avsr.training.data.spelling import speller, speller_of

    if store.is_one(model):
        about = store.description_of(model)
        return speller_of(UnitsTokenizer(about.pieces, about.piece_scores), "en")
    return speller(checkpoint.load(model)[0].config)


def _label(
    src: str,
    dst: str,
    recogniser: Recogniser,
    least: float,
    share: float | None,
    spell: Callable[[str], str],
) -> None:
    """Gives texts to the clips in SRC that have none, as shards in DST."""
    from avsr.preprocessing.shards import ShardIndex
    from avsr.training.tools.pseudolabels import relabel

    source = ShardIndex(src)
    source.require_crops(recogniser.crops, recogniser.name)
    with progress(f"labels of {recogniser.name}", unit="clips") as tell:
        told = relabel(source, Path(dst), recogniser, least, spell, tell, share)
    print(printable(f"{told}; in {dst}"), *told.comparison(), sep="\n")


def _report(dst: str) -> None:
    """Writes what the clips of shards are like beside them."""
    from avsr.preprocessing.preparing.quality import measure, report, sheet_of
    from avsr.preprocessing.preparing.store import open_store
    from avsr.preprocessing.shards import ShardIndex

    store = open_store(dst)
    index = ShardIndex(store.place)
    measures = measure(index)
    store.write("quality.md", [report(index, measures).encode()])
    store.write("contact-sheet.png", [sheet_of(index, measures)])


def _fetch(corpus: Corpus, src: Path, parts: str) -> None:
    """Fetches parts of a corpus, which say what is allowed where they are none."""
    from avsr.preprocessing.corpora import corpus as find_corpus

    module = find_corpus(corpus.value)
    if not hasattr(module, "fetch"):
        raise UsageError(f"{corpus.value} cannot be fetched: its makers ask for more than a click")
    names = [name.strip() for name in parts.split(",") if name.strip()]
    with progress(f"fetching {corpus.value}", unit="MB") as tell:
        fetched = module.fetch(src, names, tell)
    note(f"fetched to {src}: {', '.join(fetched) or 'nothing, all of it is there'}")
