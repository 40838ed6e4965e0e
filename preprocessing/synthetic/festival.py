"""flite and festival: programs that speak; flite also says when each phone ends."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import SAMPLE_RATE
from avsr.preprocessing.synthetic.formant import PRONUNCIATIONS, Span

SILENCE = "PAU"


def _run(command: list[str], wav: Path) -> tuple[np.ndarray, str]:
    """Runs a speech program that writes `wav`; returns 16 kHz sound and what it printed."""
    import soundfile
    from scipy.signal import resample_poly

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0 or not wav.exists():
        raise AvsrError(
            f"{command[0]} failed: {(done.stderr or done.stdout).strip()[:200] or 'no message'}"
        )
    sound, rate = soundfile.read(wav, dtype="float32")
    return resample_poly(sound, SAMPLE_RATE, rate).astype(np.float32), done.stdout


def speak_flite(words: list[str], spelt: list[str], name: str, rng: np.random.Generator):
    stretch = rng.uniform(0.85, 1.15)
    text = " ".join(spelt)
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "out.wav"
        options = [
            "-voice",
            name,
            "--setf",
            f"duration_stretch={stretch:.3f}",
            "-psdur",
            "-t",
            text,
            "-o",
            str(wav),
        ]
        sound, printed = _run(["flite", *options], wav)
    ends = [
        (phone.upper(), float(end))
        for phone, _, end in (item.rpartition(":") for item in printed.split())
    ]
    starts = [0.0] + [end for _, end in ends[:-1]]
    phones = [(phone, start, end) for (phone, end), start in zip(ends, starts, strict=True)]
    return sound, _words_from_phones(words, phones), phones


def _words_from_phones(words: list[str], phones: list[Span]) -> list[Span] | None:
    """Cuts phones into words by the nearest match with the dictionary; None if a word is not in
    it."""
    if not all(word in PRONUNCIATIONS for word in words):
        return None
    said = [span for span in phones if span[0] != SILENCE]
    expected = [
        (phone, index) for index, word in enumerate(words) for phone in PRONUNCIATIONS[word].split()
    ]
    cost = np.zeros((len(expected) + 1, len(said) + 1))
    cost[:, 0], cost[0, :] = np.arange(len(expected) + 1), np.arange(len(said) + 1)
    for i, (phone, _) in enumerate(expected, 1):
        for j, (other, *_times) in enumerate(said, 1):
            change = (
                0.0
                if phone == other
                else 0.6
                if (phone[0] in "AEIOU") == (other[0] in "AEIOU")
                else 1.5
            )
            cost[i, j] = min(cost[i - 1, j - 1] + change, cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    owner: dict[int, list[Span]] = {}
    i, j = len(expected), len(said)
    while i and j:  # back along the cheapest path; an extra phone goes to the word before it
        if cost[i, j] == cost[i, j - 1] + 1:
            j -= 1
            owner.setdefault(expected[i - 1][1], []).append(said[j])
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            i, j = i - 1, j - 1
            owner.setdefault(expected[i][1], []).append(said[j])
    if len(owner) < len(words):
        return None
    return [(word, owner[k][-1][1], owner[k][0][2]) for k, word in enumerate(words)]


def speak_festival(spelt: list[str], name: str, rng: np.random.Generator):
    stretch = rng.uniform(0.85, 1.15)
    with tempfile.TemporaryDirectory() as folder:
        wav, script = Path(folder) / "out.wav", Path(folder) / "in.txt"
        script.write_text(" ".join(spelt))
        tempo = f"(Parameter.set 'Duration_Stretch {stretch:.3f})"
        command = [
            "text2wave",
            "-eval",
            f"(voice_{name})",
            "-eval",
            tempo,
            str(script),
            "-o",
            str(wav),
        ]
        sound, _ = _run(command, wav)
    return sound, None, None
