"""avsr doctor: what is wrong with a video, and what would serve it best."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avsr.base.console import failing_alone, printable, progress, say
from avsr.cli.options import (
    DeviceOption,
    JobsOption,
    MemoryOption,
    OverwriteOption,
    TimeoutOption,
)

if TYPE_CHECKING:
    from avsr.transcribing.doctor.advice import Advice, Finding
    from avsr.transcribing.doctor.examine import Examination

SCHEMA = 1  # of the JSON
MARKS = {"good": "ok", "note": "note", "problem": "!!"}


def doctor(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Videos or sound files.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON for each file.")
    ] = False,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a PNG with mouth crops of all files here."),
    ] = None,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    timeout: TimeoutOption = None,
    max_memory: MemoryOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Tell what is wrong with each video, and which model and modality would serve it best."""
    from avsr.base import outputs
    from avsr.base.processes.crew import Limits
    from avsr.batch.examined import examined, examined_in_processes
    from avsr.recognisers import registry
    from avsr.transcribing.doctor import advice
    from avsr.transcribing.doctor.sheet import contact_sheet as drawn

    if contact_sheet is not None:
        outputs.refuse([contact_sheet], files, overwrite=overwrite)
        outputs.make_folder(contact_sheet.parent, "choose another --contact-sheet")
    limits, there = Limits(timeout, max_memory), registry.for_advice()
    failed, pictured = False, []
    with progress("examining") as bar:
        if jobs is None and limits == Limits():
            outcomes = examined(files, device, bar)
        else:
            outcomes = examined_in_processes(files, device, bar, jobs=jobs or 1, limits=limits)
        for file, found in outcomes:
            with bar.aside(), failing_alone(file) as outcome:
                if isinstance(found, Exception):
                    raise found
                told, best = advice.findings(found), advice.advise(found, there)
                report = _json(found, told, best) if as_json else _text(found, told, best)
                print(report, flush=True)
                if contact_sheet is not None and found.crops:
                    pictured.append(found)
            failed |= outcome.failed
    if contact_sheet is not None and pictured:
        outputs.write(contact_sheet, [drawn(pictured)])
    elif contact_sheet is not None:
        say(f"{contact_sheet}: not written, there are no lips in any file")
    raise typer.Exit(int(failed))


def _text(found: Examination, told: list[Finding], best: Advice) -> str:
    """A report for people: the file, a line for each finding, and what to do."""
    lines = [printable(found.file), f"  {_about(found)}"]
    lines += [f"  {MARKS[finding.kind]:<5}{printable(finding.text)}" for finding in told]
    lines.append(f"  best: {best.why}")
    lines += [f"    {printable(command)}    ({what})" for what, command in best.commands]
    return "\n".join(lines)


def _about(found: Examination) -> str:
    """What the file is, in a line."""
    kinds = [
        f"{stream.kind} {stream.codec}".strip()
        + (f" ({stream.language})" if stream.language not in ("", "und") else "")
        for stream in found.streams
    ]
    names, suffix = found.format.split(","), Path(found.file).suffix[1:].lower()
    container = suffix if suffix in names else names[0]
    parts = [container, f"{found.duration_s:.1f} s", f"{found.size_bytes / 1e6:.1f} MB", *kinds]
    if found.picture is not None:
        shape = found.picture
        parts.append(f"{shape.width} x {shape.height} pixels, {shape.fps:.2f} a second")
    if found.sound is not None:
        sound, channels = found.sound, len(found.sound.rms_db)
        parts.append(f"{sound.sample_rate} Hz, {channels} channel{'s' * (channels != 1)}")
    return printable("; ".join(parts))


def _json(found: Examination, told: list[Finding], best: Advice) -> str:
    """One line; numbers are as they were measured."""
    measured: dict[str, Any] = {
        name: None if value is None else asdict(value)
        for name, value in (
            ("picture", found.picture),
            ("sound", found.sound),
            ("faces", found.faces),
            ("talk", found.talk),
        )
    }
    speech, offset = found.speech, found.speech.offset
    measured["speech"] = {
        "voice": speech.voice,
        "lips": speech.lips,
        "mouthed": speech.mouthed,
        "own_language": speech.own_language,
        "language": None if speech.language is None else speech.language[0],
        "language_probability": None if speech.language is None else speech.language[1],
        "offset_s": None if offset is None else offset.seconds,
        "offset_score": None if offset is None else offset.score,
        "offset_confidence": None if offset is None else offset.confidence,
    }
    commands = [{"what": what, "command": command} for what, command in best.commands]
    return json.dumps(
        {
            "schema": SCHEMA,
            "file": found.file,
            "format": found.format,
            "size_bytes": found.size_bytes,
            "duration_s": found.duration_s,
            "streams": [asdict(stream) for stream in found.streams],
            "cut_off": found.cut_off is not None,
            "damaged": found.damaged,
            **measured,
            "findings": [asdict(finding) for finding in told],
            "advice": {"modality": best.modality, "why": best.why, "commands": commands},
        }
    )
