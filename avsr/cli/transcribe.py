"""avsr transcribe: media files to words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsr.base import outputs
from avsr.base.console import Bar, failing_alone, one_line, progress, say
from avsr.base.errors import AvsrError, UsageError
from avsr.cli.extras import BurnOption, ExplainOption, Extras, FixSyncOption
from avsr.cli.options import (
    MANY,
    DeviceOption,
    Engine,
    EngineOption,
    Format,
    HighlightOption,
    JobsOption,
    LayoutOption,
    MemoryOption,
    Modality,
    OverwriteOption,
    TimeoutOption,
    adapted,
)

if TYPE_CHECKING:
    from avsr.base.processes.crew import Limits
    from avsr.batch.asked import Asked
    from avsr.batch.delivery import Delivery
    from avsr.batch.plan import Plan
    from avsr.batch.summary import Summary
    from avsr.batch.work import Outcome
    from avsr.transcribing.captions.formats import Style
    from avsr.transcribing.transcript import Transcript

    Way = Callable[[Asked, Sequence[Path], Delivery, Bar], Iterator[Outcome]]

MODEL = "Model and search"  # a part of the help


def face_rule(text: str) -> str:
    """Whose lips: a rule, the number of a person, or a place in the picture."""
    from avsr.preprocessing.faces.persons import check_rule

    try:
        check_rule(text)
    except AvsrError as error:
        from avsr.transcribing.speakers.people import SPEAKING

        if text != SPEAKING:
            raise typer.BadParameter(f"{error}, or {SPEAKING}") from error
    return text


FilesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE|FOLDER...",
        help="Videos or sound files, folders of them, or patterns such as 'talks/**/*.mp4'.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Write <stem>.<format> here instead of to standard output.",
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="all needs -o.")]
ModalityOption = Annotated[
    Modality, typer.Option(help="auto uses what is there; the others insist on it.")
]
ModelOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|PATH",
        help="A name from `avsr models`, a file, or any recogniser that `evaluate` takes.",
        rich_help_panel=MODEL,
    ),
]
AdapterOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="What `avsr adapt` learnt of a person, for this model."),
]
BeamOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=1000,
        help="Width of the beam search; 0 is greedy, fastest; with --lm 16.",
        rich_help_panel=MODEL,
    ),
]
LmOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="An n-gram model of words (ARPA) that makes likely texts win.",
        rich_help_panel=MODEL,
    ),
]
LmWeightOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=10,
        help="How much the n-gram model counts, 0.3 by default.",
        rich_help_panel=MODEL,
    ),
]
GrammarOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Only sentences of this grammar: grid, or a file of your own.",
        rich_help_panel=MODEL,
    ),
]
NoLexiconOption = Annotated[
    bool,
    typer.Option(
        "--no-lexicon",
        help="Letter by letter, also where the model knows its few words.",
        rich_help_panel=MODEL,
    ),
]
LanguageOption = Annotated[
    str | None,
    typer.Option(
        metavar="CODE",
        help="What is spoken, as en, for models that know several.",
        rich_help_panel=MODEL,
    ),
]
FaceOption = Annotated[
    str,
    typer.Option(
        metavar="RULE",
        callback=face_rule,
        help="Whose lips: main (longest and largest), largest, left, right, speaking (who speaks "
        "most), a number from 0 on, or a place in the picture as x,y in pixels.",
    ),
]
SpeakersOption = Annotated[
    bool,
    typer.Option(
        "--speakers", help="Say who speaks, and read each from their own lips, by their faces."
    ),
]
SpeakerNamesOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help="With --speakers: what they are called, in the order in which they first speak.",
    ),
]
AudioTrackOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Which of several sound tracks, from 1 on; the file's default."
    ),
]
SkipOption = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Leave out recordings whose outputs are all there, as after a call that was stopped.",
        rich_help_panel=MANY,
    ),
]
TreeOption = Annotated[
    bool,
    typer.Option(
        "--keep-tree",
        help="Write into folders like those that the recordings lie in.",
        rich_help_panel=MANY,
    ),
]


def transcribe(
    files: FilesArgument,
    out: OutOption = None,
    format: FormatOption = Format.txt,
    layout: LayoutOption = "",
    highlight: HighlightOption = False,
    modality: ModalityOption = Modality.auto,
    model: ModelOption = "default",
    adapter: AdapterOption = None,
    beam: BeamOption = None,
    lm: LmOption = None,
    lm_weight: LmWeightOption = None,
    grammar: GrammarOption = None,
    no_lexicon: NoLexiconOption = False,
    language: LanguageOption = None,
    face: FaceOption = "main",
    speakers: SpeakersOption = False,
    speaker_names: SpeakerNamesOption = None,
    audio_track: AudioTrackOption = None,
    fix_sync: FixSyncOption = False,
    burn: BurnOption = False,
    explain: ExplainOption = None,
    device: DeviceOption = "auto",
    skip_existing: SkipOption = False,
    keep_tree: TreeOption = False,
    jobs: JobsOption = None,
    engine: EngineOption = Engine.local,
    timeout: TimeoutOption = None,
    max_memory: MemoryOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Turn videos into words, with times, confidences, and how much of each word was heard.

    Without -o the text of several files is printed as lines of FILE, a tab, and the text.
    """
    from avsr.base.processes.crew import Limits
    from avsr.batch.asked import Asked
    from avsr.batch.plan import planned
    from avsr.transcribing import writers
    from avsr.transcribing.speakers.people import SPEAKING

    asked = Asked(
        model=adapted(model, adapter),
        device=device,
        beam=beam,
        lm=lm,
        lm_weight=lm_weight,
        grammar=grammar,
        no_lexicon=no_lexicon,
        language=language,
        modality=modality.value,
        face=int(face) if face.isdecimal() else face,
        audio_track=audio_track,
        speakers=_speakers(face, speaker_names, wanted=speakers),
    )
    recognised = _way(engine, jobs, Limits(timeout, max_memory), in_order=out is None)
    names = writers.formats(format.value)
    style = _style(layout, names, highlight=highlight)
    plan = planned(files, out, names, keep_tree=keep_tree, skip_existing=skip_existing)
    # synchronised by the main face; whose lips a page shows, the transcript tells
    seen = {"face": "main" if face == SPEAKING else asked.face, "audio_track": audio_track}
    extras = Extras(out, fix_sync, burn, explain, style, modality.value, device, seen, plan.folders)
    plan, delivery = _delivery(plan, names, asked.files, extras, overwrite=overwrite)
    show = _print(plan, names[0], style) if out is None else _nothing
    summary = _work_off(plan, lambda bar: recognised(asked, plan.todo, delivery, bar), show)
    if plan.many:
        for line in summary.lines():
            say(line)
    raise typer.Exit(int(bool(summary.failures)))


def _delivery(
    plan: Plan,
    names: Sequence[str],
    read: Sequence[str | Path],
    extras: Extras,
    *,
    overwrite: bool,
) -> tuple[Plan, Delivery]:
    """What there is to do, and what is done with each transcript; refuses, before any work, what
    could not be written.

    Args:
        plan: of the transcripts alone.
        names: of their formats.
        read: files that are read beside the recordings.
        extras: what is asked for beside the transcripts.
        overwrite: other people's files may be replaced.
    """
    from avsr.batch.delivery import Delivery
    from avsr.batch.plan import make_folder

    if extras.out is None:
        _refuse_on_standard_output(plan, names)
    inputs = [*plan.files, *read]
    extras.check(plan.files)
    plan = plan.with_also(extras.lacking)
    written = names, plan.targets, extras.style, inputs, overwrite
    delivery = Delivery(*written, extras.targets, extras.make, plan.folders)
    targets = [target for file in plan.todo for target in delivery.all_of(file)]
    outputs.refuse(targets, inputs, overwrite=overwrite)
    if extras.out is not None:
        make_folder(extras.out, plan.targets)
    extras.make_folder()
    return plan, delivery


def _way(engine: Engine, jobs: int | None, limits: Limits, *, in_order: bool) -> Way:
    """Who recognises: this process, processes of their own, or actors of Ray.

    Raises:
        typer.BadParameter: limits for actors, which know none.
    """
    from avsr.base.processes.crew import Limits
    from avsr.batch.actors import transcribed_by_actors
    from avsr.batch.children import transcribed_in_processes
    from avsr.batch.work import transcribed

    unlimited = limits == Limits()
    if engine is Engine.ray:
        if not unlimited:
            raise typer.BadParameter(
                "actors of Ray know no limits: use --engine local",
                param_hint="--timeout, --max-memory",
            )
        return partial(transcribed_by_actors, jobs=jobs, in_order=in_order)
    if jobs is None and unlimited:
        return transcribed
    return partial(transcribed_in_processes, jobs=jobs or 1, limits=limits, in_order=in_order)


def _work_off(
    plan: Plan,
    recognised: Callable[[Bar], Iterator[Outcome]],
    show: Callable[[Path, Transcript], None],
) -> Summary:
    """Shows each transcript and tells each failure, in its turn; returns what became of all."""
    from avsr.batch.delivery import Unmade
    from avsr.batch.summary import Summary

    summary = Summary(skipped=plan.skipped)
    count = len(plan.todo)
    shown = progress(f"{count} files", "files") if count != 1 else progress(plan.todo[0].name)
    with shown as bar:
        for file, found in chain(plan.failures, recognised(bar)):
            with bar.aside(), failing_alone(file) as outcome:
                if isinstance(found, Unmade):
                    show(file, found.transcript)
                if isinstance(found, Exception):
                    raise found
                show(file, found)
            summary.add(file, outcome.reason, getattr(found, "duration_s", 0.0))
    return summary


def _speakers(face: str, names: str | None, *, wanted: bool) -> bool | tuple[str, ...]:
    """Whether everybody is read, and what they are called.

    Raises:
        typer.BadParameter: names without speakers, or that are none.
    """
    from avsr.transcribing.speakers.people import names_of

    if names is not None and not wanted:
        raise typer.BadParameter("needs --speakers", param_hint="--speaker-names")
    try:
        given = names_of(names.split(",") if names is not None else True, face) if wanted else []
    except UsageError as error:
        hint = "--speakers" if names is None else "--speaker-names"
        raise typer.BadParameter(str(error), param_hint=hint) from error
    return tuple(given) or wanted


def _style(layout: str, names: Sequence[str], *, highlight: bool) -> Style:
    """How subtitles shall look.

    Raises:
        UsageError: a layout that makes no sense.
        typer.BadParameter: colours for formats that have none.
    """
    from avsr.transcribing.captions.formats import Style
    from avsr.transcribing.captions.layout import Layout

    if highlight and not {"vtt", "ass"} & set(names):
        raise typer.BadParameter(
            f"{names[0]} has no colours: use -f vtt, -f ass or -f all", param_hint="--highlight"
        )
    return Style(Layout.read(layout), highlight)


def _refuse_on_standard_output(plan: Plan, names: Sequence[str]) -> None:
    """Refuses several renderings on standard output.

    Raises:
        typer.BadParameter: there are.
    """
    if len(names) > 1:
        raise typer.BadParameter(
            "several formats need a folder: give it with -o DIR", param_hint="-f all"
        )
    if plan.many and names != ["txt"]:
        raise typer.BadParameter(
            "several files need a folder: give it with -o DIR", param_hint=f"-f {names[0]}"
        )


def _nothing(file: Path, found: Transcript) -> None:
    """Shows nothing of a transcript, which is written."""


def _print(plan: Plan, name: str, style: Style) -> Callable[[Path, Transcript], None]:
    """Puts transcripts on standard output; each line begins with the file where it is one of
    several."""
    from avsr.transcribing.writers import RENDERERS

    def show(file: Path, found: Transcript) -> None:
        text = RENDERERS[name](found, style)
        if plan.many:
            lines = text.splitlines() or [""]
            text = "".join(f"{one_line(str(file))}\t{line}\n" for line in lines)
        print(text, end="", flush=True)

    return show
