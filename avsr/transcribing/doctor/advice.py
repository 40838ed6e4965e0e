"""What measurements of a file mean, in plain words, and what would serve it best.

Nothing is said that no number stands behind: the thresholds come from the evaluation of the
bundled model (docs/robustness/report.md, 100 clips of GRID, 600 words) and from the limits of the
program itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from avsr.model import checkpoint
from avsr.preprocessing.faces.lips import MIN_MOUTH
from avsr.sync import HARMLESS_FRAMES, is_certain
from avsr.transcribing.doctor.examine import LONG_S, Examination, Faces, Picture, Sound, Spans
from avsr.transcribing.doctor.talk import Talk

# Steps between pictures that differ; one lost picture in two seconds is no varying rate.
VARIES = 0.02
# Word error rate from lips alone: 4.7 % at 25 pictures a second, 7.5 at 12.5, 18.8 at 8.
FEW_FPS, TOO_FEW_FPS = 13.0, 9.0
# Of the voice over babble. Errors by sound alone, and with lips too: 1.6 % and 0.6 at 10 dB,
# 15.3 and 2.8 at 0 dB; 1.0 and 0.2 without noise.
NOISY_DB, LOUD_NOISE_DB = 10.0, 3.0
# Share of samples at the peak. In 48 clips of GRID by eight people it is 0.0005 at most, and 0.028
# at least where they are 12 dB too loud, which takes errors by sound alone from 1.0 to 4.0 %; one
# that went through AAC afterwards has 0.009.
CLIPPED = 0.003
DEAD_DB = 50.0  # below the loudest channel: a channel that carries nothing but its own noise
INVERTED = -0.8  # correlation below which the usual mix cancels, as in media.sound
# Sharpness of a crop (see examine.crop_measures). In clips of eight people it is 0.14 at least,
# 0.06 at least when blurred by 2.4 pixels, and 0.043 at most when blurred by 5.5, which takes
# errors from lips alone from 4.7 to 7.2 %.
BLURRED = 0.05
# Share of white pixels of a crop; light times 1.5 costs 0.6 points from lips alone, times 3, where
# it is 0.68 at least in clips of eight people (0.25 at most in the former), 51.
WHITE = 0.45
# Median grey level of the mouth: 86 at least in 56 clips of seven people, 19 at most with light
# times 0.12, which takes errors from lips alone from 4.7 to 4.8 %.
DARK = 40.0
# Share of the frames with a voice in which the mouth moves. In 56 clips of GRID by seven people it
# is 0.60 at least, and 0.09 at most under a patch that hides the mouth; a hand moves too.
MOUTHED = 0.5
SURE_LANGUAGE = 0.7  # probability of a language from which it is given to a model
# Tilt of the head. A clip of GRID that was turned by 90 degrees had 61 % of its lips left.
SIDEWAYS_DEG = 45.0
MOST_READABLE = 0.95  # share of the pictures; with a tenth of the lips missing nothing is lost


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        code: names it for programs.
        kind: "good", "note" or "problem".
        text: a line for people.
    """

    code: str
    kind: str
    text: str


@dataclass(frozen=True)
class Advice:
    """What would serve a file best.

    Attributes:
        modality: "av", "audio" or "video"; None where nobody speaks.
        why: the findings behind it, in a line.
        commands: each with what it is for.
    """

    modality: str | None
    why: str
    commands: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Models:
    """What there is on this machine for any words.

    Attributes:
        default: what runs where none is named.
        hears: name of one that works by sound, None without.
        reads: name of one that reads lips, None without.
        offered: name of one that can be fetched.
        polyglot: name of one that works by sound and knows many languages, None without.
    """

    default: str
    hears: str | None
    reads: str | None
    offered: str = "whisper-small"
    polyglot: str | None = None


def findings(of: Examination) -> list[Finding]:
    """What is good about a file, worth knowing, and wrong, in the order of its streams."""
    found = list(_container(of))
    if of.picture is None:
        found.append(Finding("no-picture", "note", "no picture: nothing to read lips from"))
    else:
        found += _picture(of.picture)
    if of.faces is not None:
        found += _faces(of.faces, of.talk)
    if of.talk is not None:
        found.append(_talk(of.talk))
    if of.sound is None:
        there = any(stream.kind == "audio" for stream in of.streams)
        text = "no sound that can be read" if there else "no sound track"
        found.append(Finding("no-sound", "problem", text))
    else:
        found += _sound(of.sound, lips=of.faces is not None and of.faces.readable > 0)
    return [*found, *_speech(of)]


def _container(of: Examination) -> Iterator[Finding]:
    if of.cut_off:
        yield Finding("cut-off", "problem", of.cut_off)
    if of.damaged:
        yield Finding("damaged", "problem", f"{of.damaged} damaged packets were skipped")
    tracks = sum(stream.kind == "audio" for stream in of.streams)
    if tracks > 1:
        text = f"{tracks} sound tracks: the file's own choice was measured; --audio-track N"
        yield Finding("sound-tracks", "note", f"{text} takes another")


def _picture(of: Picture) -> Iterator[Finding]:
    if of.rotation:
        yield Finding("rotated", "good", f"stored turned by {of.rotation} degrees: shown upright")
    if of.varying > VARIES:
        fast, slow = (1000 / max(step, 1) for step in of.range_ms)
        text = f"the frame rate varies, from {slow:.0f} to {fast:.0f} pictures a second"
        yield Finding("varying-rate", "good", f"{text}: times come from the timestamps")
    if 0 < of.fps < FEW_FPS:
        kind = "problem" if of.fps < TOO_FEW_FPS else "note"
        text = f"only {of.fps:.1f} pictures a second: reading lips needs more"
        yield Finding("few-pictures", kind, text)
    if of.black:
        yield Finding("black", "problem", f"the picture is black at {_when(of.black)}")


def _when(spans: Spans) -> str:
    """Stretches of seconds, the five longest."""
    longest = sorted(sorted(spans, key=lambda span: span[0] - span[1])[:5])
    told = ", ".join(f"{first_s:.1f}-{end_s:.1f}" for first_s, end_s in longest)
    return f"{told} s" + (f" and {len(spans) - 5} more" if len(spans) > 5 else "")


def _faces(of: Faces, talk: Talk | None) -> Iterator[Finding]:
    if not of.count:
        yield Finding("no-face", "problem", "no face found in the picture")
        return
    if of.count > 1:
        text = f"{of.who}; --face N takes a certain one"
        yield Finding("several-faces", "note", text)
    if of.roll_deg > SIDEWAYS_DEG:
        text = f"the face lies on its side ({of.roll_deg:.0f} degrees): turn the picture upright"
        yield Finding("sideways", "problem", text)
    about = f"mouth {of.mouth_px:.0f} pixels wide, head turned by {of.yaw_deg:.0f} degrees"
    whose = "" if talk is None else f" of face {of.chosen}"
    share = f"lips{whose} can be read in {of.readable:.0%} of the pictures ({about})"
    if of.mouth_px < MIN_MOUTH:
        limit = f"below {MIN_MOUTH:.0f} pixels a mouth is too coarse: give a larger picture"
        yield Finding("small-mouth", "problem", f"{share}; {limit}")
    elif of.readable == 0:
        yield Finding("unreadable", "problem", share)
    else:
        yield Finding("lips", "good" if of.readable >= MOST_READABLE else "note", share)
    if of.readable and of.lost:
        yield Finding("lost-lips", "note", f"no lips to read at {_when(of.lost)}")
    if of.readable and of.sharpness < BLURRED:
        text = f"the lips are blurred (sharpness {of.sharpness:.2f}): a little harder to read"
        yield Finding("blurred", "note", text)
    if of.readable and of.grey < DARK:
        text = f"the mouth is dark (grey level {of.grey:.0f} of 255): as good as any"
        yield Finding("dark", "good", text)
    if of.readable and of.white > WHITE:
        text = f"{of.white:.0%} of the mouth is white: too much light to read lips well"
        yield Finding("too-bright", "problem", text)


def _talk(of: Talk) -> Finding:
    """Who of several people speaks."""
    who = [f"face {one.face} ({one.side}) for {one.seconds:.1f} s" for one in of.talkers]
    if of.off_screen_s >= LONG_S:
        who.append(f"a voice that fits none of the lips for {of.off_screen_s:.1f} s")
    if not who:
        return Finding("who-speaks", "note", "none of them is seen to speak")
    text = f"who speaks: {', '.join(who)}"
    if of.together_s >= LONG_S:
        text += f"; for {of.together_s:.1f} s two or more speak at once: words are less certain"
    return Finding("who-speaks", "note" if of.off_screen_s >= LONG_S else "good", text)


def _sound(of: Sound, *, lips: bool) -> Iterator[Finding]:
    loudest = max(of.rms_db)
    dead = [str(n) for n, db in enumerate(of.rms_db, 1) if db < loudest - DEAD_DB]
    if of.level_db is not None:
        text = (
            f"the voice is at {of.level_db:.0f} dB of full scale, peaks at {round(of.peak_db)} dB"
        )
        yield Finding("level", "good", text)
    if dead:
        text = f"channel {', '.join(dead)} of {len(of.rms_db)} carries nothing"
        yield Finding("dead-channel", "note", text)
    if of.correlation < INVERTED:
        text = f"a channel is upside down (correlation {of.correlation:.2f}): turned when mixed"
        yield Finding("inverted", "note", text)
    if of.clipped > CLIPPED:
        text = f"the sound is clipped: {of.clipped:.1%} of its samples lie at the peak"
        yield Finding("clipped", "problem", f"{text}; record it at a lower level")
    first_s, end_s = of.silent
    if end_s - first_s >= LONG_S:
        text = f"no sound at all from {first_s:.1f} to {end_s:.1f} s"
        yield Finding("silence", "problem", text)
    if of.snr_db is not None:
        kind = "good"
        if of.snr_db < NOISY_DB:
            kind = "problem" if of.snr_db < LOUD_NOISE_DB else "note"
        text = f"the voice is about {of.snr_db:.0f} dB above the noise"
        yield Finding("noise", kind, text + (": lips help" if lips and kind != "good" else ""))


def _speech(of: Examination) -> Iterator[Finding]:
    speech = of.speech
    if of.sound is not None:
        if speech.voice:
            yield Finding("voice", "good", f"a voice is heard in {speech.voice:.0%} of the sound")
        else:
            yield Finding("no-voice", "problem", "no voice is heard in the sound")
    if of.faces is not None and of.faces.readable and not speech.lips:
        text = "the mouth does not move as in speech"
        if speech.voice:
            text += ": something covers it, or it is another who speaks"
        yield Finding("still-lips", "note", text)
    elif speech.mouthed is not None and speech.mouthed < MOUTHED and not _others_speak(of):
        text = f"the mouth moves in only {speech.mouthed:.0%} of the time that a voice is heard"
        also = ": perhaps something covers it, or others speak as well"
        yield Finding("covered", "note", text + also)
    yield from _offset(of)
    if speech.own_language is True:
        text = "the speech is of the bundled model's 51 words"
        yield Finding("own-language", "good", text)
    elif speech.own_language is False:
        text = "the speech is not of the bundled model's 51 words"
        yield Finding("other-language", "note", text)
    if speech.language is not None:
        code, likely = speech.language
        kind = "good" if likely >= SURE_LANGUAGE else "note"
        text = f"the language sounds like {code} (probability {likely:.2f})"
        yield Finding("language", kind, text)


def _others_speak(of: Examination) -> bool:
    """Whether voices are heard that are not those of the lips that are read: then no mouth moves
    with all of them, and none need be covered."""
    talk = of.talk
    return talk is not None and (len(talk.talkers) > 1 or talk.off_screen_s >= LONG_S)


def _offset(of: Examination) -> Iterator[Finding]:
    offset = of.speech.offset
    if offset is None:
        return
    fit = f"cosine {offset.score:.2f}, {offset.confidence:.2f} above the other lags"
    if not is_certain(offset):
        text = f"whether sound and lips are synchronised cannot be told ({fit})"
        if not _others_speak(of):
            text += ": something may cover the mouth, or another may speak"
        yield Finding("offset-unsure", "note", text)
    elif abs(offset.frames) <= HARMLESS_FRAMES:
        text = f"sound and lips are synchronised to within 0.08 s ({fit})"
        yield Finding("synchronised", "good", text)
    else:
        way = "after" if offset.frames > 0 else "before"
        text = f"the sound comes {abs(offset.seconds):.2f} s {way} the lips ({fit})"
        mended = "the bundled model puts that right by itself"
        yield Finding("out-of-step", "problem", f"{text}; {mended}")


def advise(of: Examination, there: Models) -> Advice:
    """Which modality and model would serve a file best, and the commands to run."""
    heard = of.sound is not None and of.speech.voice > 0
    seen = of.faces is not None and of.faces.readable > 0 and of.speech.lips > 0
    if not (heard or seen):
        return Advice(None, "neither a voice nor a mouth that moves was found: nothing to do")
    talk = of.talk if seen else None
    if talk is not None and heard and talk.most is None:
        seen = False  # the lips of others would only do harm
    modality = "av" if heard and seen else "audio" if heard else "video"
    why = {
        "av": "sound and lips together: a voice is heard, and lips can be read",
        "audio": "sound alone: a voice is heard, and no moving lips can be read",
        "video": "lips alone: lips move, and no voice is heard",
    }[modality]
    if modality == "audio" and talk is not None:
        why = "sound alone: the voice fits the lips of nobody in the picture"
    insist = modality == "audio" and of.picture is not None
    insist |= modality == "video" and of.sound is not None
    tail = f" --modality {modality}" if insist else ""
    if talk is not None and modality != "audio":
        more, option = _whose(talk)
        why, tail = why + more, tail + option
    commands = []
    if of.speech.own_language is not True:
        commands += list(_any_words(of, heard, tail, there))
    if of.speech.own_language is not False:
        own = "" if there.default == checkpoint.DEFAULT else f" --model {checkpoint.DEFAULT}"
        what = "the 51 words of the bundled model"
        commands.append((what, f"avsr transcribe {_quoted(of.file)}{own}{tail}"))
    return Advice(modality, why, commands)


def _whose(talk: Talk) -> tuple[str, str]:
    """What is added to the reason and to the command where there are several people."""
    if len(talk.talkers) > 1:
        return "; several people speak: each is read from their own lips", " --speakers"
    if talk.talkers and talk.off_screen_s >= LONG_S:
        return "; another voice fits nobody's lips: its words are told apart", " --speakers"
    if talk.most in (None, talk.main):
        return "", ""
    return f"; face {talk.most} speaks, which is not the main one", f" --face {talk.most}"


def _any_words(of: Examination, heard: bool, tail: str, there: Models) -> Iterator[tuple[str, str]]:
    """Commands for speech of any words, where this machine has a model for it or can get one."""
    hears, option = there.hears, ""
    if of.speech.language is not None and of.speech.language[1] >= SURE_LANGUAGE:
        code = of.speech.language[0]
        if code != "en":
            hears, option = there.polyglot, f" --language {code}"
    if heard and hears is None:
        yield "first, for any words", f"avsr models get {there.offered}"
    name = (hears or there.offered) if heard else there.reads
    if name is not None:
        named = "" if name == there.default else f" --model {shlex.quote(name)}"
        lips = there.reads is not None
        what = "any words" if lips else "any words, by sound alone"
        yield what, f"avsr transcribe {_quoted(of.file)}{named}{option}{tail}"


def _quoted(file: str) -> str:
    """A file for a shell; one whose name begins with a dash is no option."""
    return shlex.quote(f"./{file}" if file.startswith("-") else file)
