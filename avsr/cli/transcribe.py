"""avsr transcribe: media files to words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avsr.base import outputs
from avsr.base.console import Bar, failing_alone, note, one_line, progress, say
from avsr.base.errors import AvsrError, UsageError
from avsr.cli.extras import Extras, FixSyncOption
from avsr.cli.options import (
    DeviceOption,
    Format,
    HighlightOption,
    LayoutOption,
    Modality,
    OverwriteOption,
)

if TYPE_CHECKING:
    from avsr.preprocessing.reader import ClipReader
    from avsr.recognisers.base import Recogniser
    from avsr.transcribing.captions.formats import Style
    from avsr.transcribing.transcript import Transcript


def face_rule(text: str) -> str:
    """Whose lips: a rule, the number of a person, or a place in the picture."""
    from avsr.preprocessing.faces.persons import check_rule

    try:
        check_rule(text)
    except AvsrError as error:
        raise typer.BadParameter(str(error)) from error
    return text


FilesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Videos or sound files.")
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
    ),
]
BeamOption = Annotated[
    int | None,
    typer.Option(
        min=0, max=1000, help="Width of the beam search; 0 is greedy, fastest; with --lm 16."
    ),
]
LmOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="An n-gram model of words (ARPA) that makes likely texts win."
    ),
]
LmWeightOption = Annotated[
    float | None,
    typer.Option(min=0, max=10, help="How much the n-gram model counts, 0.3 by default."),
]
GrammarOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE", help="Only sentences of this grammar: grid, or a file of your own."
    ),
]
NoLexiconOption = Annotated[
    bool,
    typer.Option(
        "--no-lexicon", help="Letter by letter, also where the model knows its few words."
    ),
]
LanguageOption = Annotated[
    str | None,
    typer.Option(metavar="CODE", help="What is spoken, as en, for models that know several."),
]
FaceOption = Annotated[
    str,
    typer.Option(
        metavar="RULE",
        callback=face_rule,
        help="Whose lips: main (longest and largest), largest, left, right, a number from 0 on, "
        "or a place in the picture as x,y in pixels.",
    ),
]
AudioTrackOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Which of several sound tracks, from 1 on; the file's default."
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
    beam: BeamOption = None,
    lm: LmOption = None,
    lm_weight: LmWeightOption = None,
    grammar: GrammarOption = None,
    no_lexicon: NoLexiconOption = False,
    language: LanguageOption = None,
    face: FaceOption = "main",
    audio_track: AudioTrackOption = None,
    fix_sync: FixSyncOption = False,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Turn videos into words, with times, confidences, and how much of each word was heard.

    Without -o the text of several files is printed as lines of FILE, a tab, and the text.
    """
    from avsr.transcribing import writers

    names = writers.formats(format.value)
    style = _style(layout, names, highlight=highlight)
    which: str | int = int(face) if face.isdecimal() else face
    extras = Extras(out, fix_sync, device, {"face": which, "audio_track": audio_track})
    targets = _targets(files, out, names)
    for file in files:
        targets.setdefault(file, []).extend(extras.targets(file))
    inputs: list[str | Path] = [*files, *(named for named in (model, lm, grammar) if named)]
    outputs.refuse(chain(*targets.values()), inputs, overwrite=overwrite)
    if out is not None:
        _make_folder(out, targets)
    with ExitStack() as stack:
        # reads on while the model is loaded
        begun = _begun(files[0], modality.value, which, audio_track)
        if begun is not None:
            stack.enter_context(begun)
        recogniser = _recogniser(
            model, device, beam, lm, lm_weight, grammar, no_lexicon=no_lexicon, language=language
        )
        stack.pop_all()  # closed by the call that it is given to
    note(f"model {recogniser.name} on {recogniser.device}")
    options = {
        "modality": modality.value,
        "face": which,
        "audio_track": audio_track,
        "reader": begun,
    }
    failed = False
    many = len(files) > 1
    with progress(f"{len(files)} files", "files") if many else progress(files[0].name) as bar:
        for file, found in _found(recogniser, files, bar, options):
            with bar.aside(), failing_alone(file) as outcome:
                if isinstance(found, Exception):
                    raise found
                for warning in found.warnings:
                    say(f"{file}: {warning}")
                if out is None:
                    _print(writers.RENDERERS[names[0]](found, style), file if many else None)
                else:
                    # once more: a long call leaves time for new files
                    outputs.refuse(targets[file], inputs, overwrite=overwrite)
                    for name, target in zip(names, targets[file], strict=False):
                        writers.write(found, target, name, style)
                extras.make(file, found, recogniser)
            failed |= outcome.failed
    raise typer.Exit(int(failed))


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


def _recogniser(
    model: str,
    device: str,
    beam: int | None,
    lm: Path | None,
    lm_weight: float | None,
    grammar: str | None,
    *,
    no_lexicon: bool,
    language: str | None,
) -> Recogniser:
    """The recogniser that is asked for, decoding as it shall."""
    from avsr.decoding.language import load
    from avsr.transcribing.transcribe import load_model

    spoken = load(lm, grammar=grammar, lm_weight=lm_weight)
    recogniser = load_model(model, device)
    if no_lexicon:
        recogniser = recogniser.without_lexicon()
    if beam is not None or spoken is not None:
        recogniser = recogniser.with_decoding(beam, spoken)
    return recogniser if language is None else recogniser.in_language(language)


def _found(
    recogniser: Recogniser, files: Sequence[Path], bar: Bar, options: dict[str, Any]
) -> Iterator[tuple[Path, Transcript | Exception]]:
    """Each file with its transcript or the error that it ended in; the bar says how far they all
    are."""
    done, media_s = 0, 0.0

    def tell(done_s: float, of_s: float) -> None:
        if len(files) == 1:
            bar(done_s, of_s or 1.0)
        else:
            share = min(1.0, done_s / of_s) if of_s > 0 else 0.0
            bar(done + share, len(files), f"{files[done].name}, {media_s + done_s:.0f} s so far")

    tell(0.0, 0.0)
    with closing(recogniser.transcribe_many(files, progress=tell, **options)) as results:
        for file, found in zip(files, results, strict=True):
            yield file, found
            done += 1
            media_s += 0.0 if isinstance(found, Exception) else found.duration_s
            if done < len(files):
                tell(0.0, 0.0)


def _begun(
    file: Path, modality: str, face: str | int, audio_track: int | None
) -> ClipReader | None:
    """A reader of a file that has begun to read; None where it cannot be read, which is told in its
    turn."""
    from avsr.preprocessing.reader import ClipReader

    try:
        streams: dict[str, Any] = {"audio": modality != "video", "video": modality != "audio"}
        reader = ClipReader(file, face=face, audio_track=audio_track, **streams)
    except AvsrError:
        return None
    reader.begin()
    return reader


def _print(text: str, file: Path | None) -> None:
    """Puts a transcript on standard output; each line begins with the file where it is one of
    several."""
    if file is not None:
        text = "".join(f"{one_line(str(file))}\t{line}\n" for line in text.splitlines() or [""])
    print(text, end="", flush=True)


def _targets(
    files: Sequence[Path], out: Path | None, names: Sequence[str]
) -> dict[Path, list[Path]]:
    """The files that each input is written to, one a format; none where standard output takes it.

    Raises:
        UsageError: an input named twice, or "-" for the folder.
        typer.BadParameter: several renderings on standard output.
    """
    seen = set()
    for file in files:
        # a hard link of another name may have outputs of its own
        this = file.stem, outputs.identity(file) or file
        if this in seen:
            raise UsageError(f"{file} is named twice: name it once")
        seen.add(this)
    if out is not None:
        if str(out) == "-" and not out.is_dir():
            raise UsageError(
                "-o -: is no folder: leave -o out, and the text goes to standard output"
            )
        return {file: [out / f"{file.stem}.{name}" for name in names] for file in files}
    if len(names) > 1:
        raise typer.BadParameter(
            "several formats need a folder: give it with -o DIR", param_hint="-f all"
        )
    if len(files) > 1 and names != ["txt"]:
        raise typer.BadParameter(
            "several files need a folder: give it with -o DIR", param_hint=f"-f {names[0]}"
        )
    return {}


def _make_folder(folder: Path, targets: dict[Path, list[Path]]) -> None:
    """Makes the folder of the outputs, and sees that they can be written there side by side.

    Raises:
        AvsrError: no folder can be made, nothing can be written, or two inputs would share an
            output.
    """
    try:
        # Before the folder is made for names that are alike to the letter, after it for those it
        # takes for alike.
        outputs.refuse_twins([(file, own[0]) for file, own in targets.items()])
        folder.mkdir(parents=True, exist_ok=True)
        outputs.refuse_twins(
            [(file, own[0]) for file, own in targets.items()], outputs.ignores_case(folder)
        )
    except OSError as error:
        raise AvsrError(
            f"{folder}: cannot be written to ({error.strerror}): choose another with -o"
        ) from error
