"""Spoken sentences with word and phone times, from whatever speech engine the machine has.

Engines: espeak-ng (its library, in a process of its own), flite and festival (programs), SVOX Pico
(the Python package ttspico), Kokoro (neural, see `kokoro`) and a formant synthesiser of our own
that needs nothing and knows GRID's 51 words. All give 16 kHz mono with a little room noise and
silence at both ends.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import SAMPLE_RATE
from avsr.preprocessing.synthetic import festival, formant, kokoro
from avsr.preprocessing.synthetic.festival import SILENCE
from avsr.preprocessing.synthetic.formant import PRONUNCIATIONS, Span

ENGINES = ("auto", "espeak", "flite", "festival", "pico", "kokoro", "held-out", "formant")

_ESPEAK_VOICES = [
    f"{accent}+{variant}"
    for accent in (
        "en",
        "en-us",
        "en-gb-scotland",
        "en-gb-x-rp",
        "en-gb-x-gbclan",
        "en-gb-x-gbcwmd",
    )
    for variant in ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4")
]
_PICO_VOICES = ["en-GB", "en-US"]
_FLITE_VOICES = ["kal", "kal16", "awb", "rms", "slt"]
_FORMANT_SPEAKERS = {
    **{
        "m1": formant.Speaker(95, 0.94),
        "m2": formant.Speaker(112, 1.0),
        "m3": formant.Speaker(130, 0.97, 1.1),
    },
    **{
        "m4": formant.Speaker(120, 1.04, 0.92),
        "f1": formant.Speaker(185, 1.12),
        "f2": formant.Speaker(210, 1.17),
    },
    **{"f3": formant.Speaker(225, 1.14, 1.1, 0.04), "f4": formant.Speaker(195, 1.2, 0.95)},
}

# espeak's IPA -> ARPABET, longest first; what is not listed (stress, length) carries no sound of
# its own
_IPA = {
    **{
        "eɪ": "EY",
        "aɪ": "AY",
        "əʊ": "OW",
        "oʊ": "OW",
        "aʊ": "AW",
        "ɔɪ": "OY",
        "tʃ": "CH",
        "dʒ": "JH",
        "iə": "IH",
    },
    **{
        "ɪə": "IH",
        "i": "IY",
        "ɪ": "IH",
        "e": "EH",
        "ɛ": "EH",
        "a": "AE",
        "æ": "AE",
        "ʌ": "AH",
        "ɐ": "AX",
        "ə": "AX",
    },
    **{
        "ɑ": "AA",
        "ɒ": "AO",
        "ɔ": "AO",
        "o": "OW",
        "u": "UW",
        "ʊ": "UH",
        "ʉ": "UW",
        "ɜ": "ER",
        "ɚ": "ER",
        "ᵻ": "IH",
    },
    **{
        "p": "P",
        "b": "B",
        "t": "T",
        "d": "D",
        "ɾ": "D",
        "k": "K",
        "ɡ": "G",
        "g": "G",
        "f": "F",
        "v": "V",
    },
    **{
        "θ": "TH",
        "ð": "DH",
        "s": "S",
        "z": "Z",
        "ʃ": "SH",
        "ʒ": "ZH",
        "h": "HH",
        "m": "M",
        "n": "N",
        "ŋ": "NG",
    },
    **{"l": "L", "ɫ": "L", "ɹ": "R", "r": "R", "w": "W", "ʍ": "W", "j": "Y", "ʔ": "T", "x": "K"},
}


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence.

    Attributes:
        text: what is said.
        audio: (N,) float32 in [-1, 1], 16 kHz mono, with 0.2 to 0.5 s of near silence at each end.
        words: (word, start_s, end_s) in order; None where the engine cannot tell.
        phones: (phone, start_s, end_s), ARPABET without stress; None where the engine cannot tell.
        voice: engine and voice, such as "espeak:en+m3".
    """

    text: str
    audio: np.ndarray
    words: list[Span] | None
    phones: list[Span] | None
    voice: str

    @property
    def duration_s(self) -> float:
        return len(self.audio) / SAMPLE_RATE


def voices(engine: str = "auto") -> list[str]:
    """Voices that this machine can use, as "engine:voice"; empty where the engine is not installed.

    Args:
        engine: one of `ENGINES`; "auto" is espeak where it is there, the formant synthesiser
            otherwise; "held-out" are those voices of kokoro's that are kept out of training.

    Raises:
        AvsrError: no engine of that name.
    """
    if engine not in ENGINES:
        raise AvsrError(f"unknown speech engine {engine!r}: choose one of {', '.join(ENGINES)}")
    if engine == "auto":
        return voices("espeak") or voices("formant")
    if engine == "espeak":
        names = _ESPEAK_VOICES if _has_espeak() else []
    elif engine == "flite":
        names = _FLITE_VOICES if shutil.which("flite") else []
    elif engine == "festival":
        found = Path("/usr/share/festival/voices").glob("*/*") if shutil.which("text2wave") else ()
        names = sorted(path.name for path in found if path.is_dir())
    elif engine == "pico":
        names = _PICO_VOICES if importlib.util.find_spec("ttspico") else []
    elif engine in ("kokoro", "held-out"):
        chosen = kokoro.ENGLISH if engine == "kokoro" else kokoro.HELD_OUT
        names = list(chosen) if kokoro.available() else []
    else:
        names = list(_FORMANT_SPEAKERS)
    return [f"{engine}:{name}" for name in names]


def speak(
    text: str, rng: np.random.Generator, voice: str | None = None, engine: str = "auto"
) -> Utterance:
    """Say a sentence; voice, pitch, tempo, loudness and the silence around it are drawn from `rng`.

    A text made of GRID's words only is read in GRID's way: "a" is the letter, "z" is zed.

    Args:
        text: lower-case words.
        rng: the same generator state gives the same sound (with the same engine version).
        voice: "engine:voice" as listed by `voices`; drawn where not given.
        engine: one of `ENGINES`, used where `voice` is not given.

    Raises:
        AvsrError: empty text, engine or voice not there, or a word that the formant synthesiser
            does not know.
    """
    words = text.split()
    if not words:
        raise AvsrError("nothing to say: give at least one word")
    choice = voices(voice.partition(":")[0] if voice else engine)
    if not choice or (voice and voice not in choice):
        what = f"voice {voice!r}" if voice else f"speech engine {engine!r}"
        raise AvsrError(
            f"{what} is not on this machine; available: "
            f"{', '.join(choice) or 'install it, or use formant'}"
        )
    voice = voice or choice[rng.integers(len(choice))]
    kind, _, name = voice.partition(":")
    sound, spans, phones = _SPEAKERS[kind](words, name, rng)
    return _finish(text, voice, sound, spans, phones, rng)


def _finish(
    text: str, voice: str, sound: np.ndarray, spans, phones, rng: np.random.Generator
) -> Utterance:
    """Trims the engine's own silence, sets the level, adds silence and faint noise, moves the times
    along."""
    first, last = _speech_part(sound, phones)
    speech = sound[first:last] * _faded(last - first)
    level = rng.uniform(0.04, 0.09) / (np.sqrt(np.mean(speech**2)) + 1e-9)
    level = min(level, 0.95 / (np.abs(speech).max() + 1e-9))
    before, after = (int(rng.uniform(0.2, 0.5) * SAMPLE_RATE) for _ in range(2))
    audio = np.pad(speech * level, (before, after)) + rng.normal(
        scale=0.0005, size=before + len(speech) + after
    )
    shift, end = (before - first) / SAMPLE_RATE, (before + len(speech)) / SAMPLE_RATE
    start = before / SAMPLE_RATE

    def moved(items: list[Span] | None) -> list[Span] | None:
        if items is None:
            return None
        ends = [[float(np.clip(t + shift, start, end)) for t in times] for _, *times in items]
        return [(item[0], a, b) for item, (a, b) in zip(items, ends, strict=True) if b > a]

    return Utterance(text, audio.astype(np.float32), moved(spans), moved(phones), voice)


def _speech_part(sound: np.ndarray, phones: list[Span] | None) -> tuple[int, int]:
    """First and last sample (exclusive) of the speech: by the phones where known (a recorded
    voice's pauses hiss)."""
    said = [(a, b) for phone, a, b in phones or () if phone != SILENCE]
    if said:
        first, last = (
            int((said[0][0] - 0.01) * SAMPLE_RATE),
            int((said[-1][1] + 0.03) * SAMPLE_RATE),
        )
    else:
        loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
        first, last = (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, len(sound))
    return max(first, 0), min(last, len(sound))


def _faded(samples: int) -> np.ndarray:
    """(samples,) ones that rise and fall over 5 ms at the ends, so that the cut does not click."""
    ramp = np.minimum(np.arange(samples) + 1, np.arange(samples, 0, -1)) / (0.005 * SAMPLE_RATE)
    return np.minimum(ramp, 1.0).astype(np.float32)


def _spelt(words: list[str], letter_a: str = "ay") -> list[str]:
    """Words as an engine must be given them so that GRID's letters are read as letters."""
    if not all(word in PRONUNCIATIONS for word in words):
        return words
    return [{"a": letter_a, "z": "zed"}.get(word, word) for word in words]


# ---------------------------------------------------------------- our own


def _speak_formant(words: list[str], name: str, rng: np.random.Generator):
    unknown = [word for word in words if word not in PRONUNCIATIONS]
    if unknown:
        raise AvsrError(
            f"the formant synthesiser cannot say {unknown[0]!r}: it knows GRID's 51 words; install "
            "espeak-ng for others"
        )
    base = _FORMANT_SPEAKERS[name]
    speaker = formant.Speaker(
        base.pitch_hz * rng.uniform(0.9, 1.1),
        base.formant_scale * rng.uniform(0.97, 1.03),
        base.tempo * rng.uniform(0.88, 1.12),
        base.breath,
    )
    return formant.synthesise(words, speaker, rng)


# ---------------------------------------------------------------- espeak-ng


_WORD_EVENT, _PHONEME_EVENT = 1, 7


def _espeak(*arguments: str) -> subprocess.CompletedProcess:
    program = Path(__file__).with_name("espeak.py")
    return subprocess.run(
        [sys.executable, "-I", "-S", str(program), *arguments], capture_output=True, timeout=60
    )


@functools.cache
def _has_espeak() -> bool:
    return _espeak().returncode == 0


def _speak_espeak(words: list[str], name: str, rng: np.random.Generator):
    from scipy.signal import resample_poly

    # rate in words a minute, volume, pitch, pitch range (0 to 100), gap between words in 10 ms
    ranges = {1: (130, 185), 2: (80, 81), 3: (30, 71), 4: (30, 71), 7: (0, 3)}
    settings = {key: int(rng.integers(low, high)) for key, (low, high) in ranges.items()}
    spelt = _spelt(words, "eigh")
    done = _espeak(name, " ".join(spelt), json.dumps(settings))
    if done.returncode != 0:
        raise AvsrError(
            f"espeak-ng failed with voice {name!r}: "
            f"{done.stderr.decode()[-200:].strip() or 'no message'}"
        )
    head, _, samples = done.stdout.partition(b"\n")
    head = json.loads(head)
    sound = np.frombuffer(samples, np.int16).astype(np.float32) / 32768
    sound = resample_poly(sound, SAMPLE_RATE, head["rate"]).astype(np.float32)
    phones = _espeak_phones(head["events"], len(sound) / SAMPLE_RATE)
    return sound, _espeak_words(words, spelt, head["events"], phones), phones


def _espeak_phones(events: list[tuple[int, float, int, str]], duration_s: float) -> list[Span]:
    """Phoneme events -> phones; each lasts until the next event."""
    heard = [(at, ipa) for kind, at, _, ipa in events if kind == _PHONEME_EVENT]
    ends = [at for at, _ in heard[1:]] + [duration_s]
    return [
        (_arpabet(ipa), at, end) for (at, ipa), end in zip(heard, ends, strict=True) if end > at
    ]


def _arpabet(ipa: str) -> str:
    ipa = ipa.lstrip("ˈˌ_: ")
    for length in (2, 1):
        if ipa[:length] in _IPA:
            return _IPA[ipa[:length]]
    return SILENCE


def _espeak_words(words: list[str], spelt: list[str], events, phones: list[Span]) -> list[Span]:
    """Word events -> word spans; words that espeak runs together share their stretch equally."""
    # espeak counts characters from 1
    starts = np.cumsum([0] + [len(word) + 1 for word in spelt[:-1]]) + 1
    said: dict[int, float] = {}
    for kind, at, position, _ in events:
        if kind == _WORD_EVENT:
            said.setdefault(int(np.searchsorted(starts, position, side="right")) - 1, at)
    said.setdefault(0, phones[0][1])
    sounding = [(a, b) for phone, a, b in phones if phone != SILENCE]
    heads = [*sorted(said), len(words)]
    spans: list[Span] = []
    for head, following in itertools.pairwise(heads):
        limit = said.get(following, float("inf"))
        inside = [(a, b) for a, b in sounding if said[head] - 0.005 <= a < limit - 0.005] or [
            (said[head], said[head])
        ]
        edges = np.linspace(inside[0][0], inside[-1][1], following - head + 1)
        spans += [
            (words[head + i], float(edges[i]), float(edges[i + 1])) for i in range(following - head)
        ]
    return spans


# ---------------------------------------------------------------- flite, festival


def _speak_flite(words: list[str], name: str, rng: np.random.Generator):
    return festival.speak_flite(words, _spelt(words), name, rng)


def _speak_festival(words: list[str], name: str, rng: np.random.Generator):
    return festival.speak_festival(_spelt(words), name, rng)


# ---------------------------------------------------------------- SVOX Pico


def _speak_pico(words: list[str], name: str, rng: np.random.Generator):
    import ttspico

    engine = ttspico.TtsEngine(name)  # anew: what it said before would change how it says this
    engine.rate, engine.pitch = int(rng.integers(80, 131)), int(rng.integers(70, 141))  # percent
    sound = engine.speak(" ".join(_spelt(words)))  # 16 kHz
    return np.frombuffer(sound, np.int16).astype(np.float32) / 32768, None, None


# ---------------------------------------------------------------- Kokoro


def _speak_kokoro(words: list[str], name: str, rng: np.random.Generator):
    return kokoro.say(" ".join(_spelt(words, "eigh")), name, rng), None, None


_SPEAKERS = {
    "formant": _speak_formant,
    "espeak": _speak_espeak,
    "flite": _speak_flite,
    "festival": _speak_festival,
    "pico": _speak_pico,
    "kokoro": _speak_kokoro,
    "held-out": _speak_kokoro,
}
