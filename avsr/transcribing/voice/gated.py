"""Digital silence in pauses: noise gates, conferences and editors leave it where nobody speaks.

N  samples, 16 kHz        T  frames, 25 a second        H  steps of 10 ms
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from avsr.preprocessing.clip import FPS, SAMPLE_RATE, Clip, to_runs
from avsr.transcribing.voice.activity import moving

LSB = 2**-15  # a step of 16-bit sound
# Peak to peak within 10 ms: what codecs make of silence is exactly zero, or dithered by a step.
STILL = 3 * LSB
OFFSET = 10 * LSB  # from zero: silence is 8 steps in A-law
STEPS = 100  # a second
STEP = SAMPLE_RATE // STEPS
SHORTEST = 5  # steps
# Share of a silence in which the mouth moves as in speech, from which on the sound was muted, by
# the steps from which on that holds: in the shortest ones lips tell nothing, few pauses are long.
# Set on GRID s1, see docs/results.md.
MUTED = (200, 0.5), (50, 0.8)
FAINT = 0.05  # share of the steps with sound that are fainter than what fills the others
NOISE = np.random.default_rng(0).standard_normal(SAMPLE_RATE, np.float32)


def ungated(clip: Clip) -> Clip:
    """A clip with faint noise where it is digitally silent, for a recogniser.

    No room is so still, and recognisers never met that in training: they hear letters at its edges
    and believe less of what is beside. The noise is as loud as the faintest sound of the clip, as
    the comfort noise of telephones (RFC 3389), and the same at the same time of a recording, in
    whatever window. Where the lips say that somebody speaks the sound is muted and stays silent:
    then it is no pause, and noise would say that it is one.

    Args:
        clip: a window or a segment of a recording.
    """
    steps = clip.audio.reshape(-1, STEP)
    still = (np.ptp(steps, axis=1) <= STILL) & (np.abs(steps).max(axis=1) <= OFFSET)
    present = np.repeat(clip.audio_present, STEPS // FPS)
    sound = steps[present & ~still]
    gaps = [run for run in to_runs(present & still) if run[1] - run[0] >= SHORTEST]
    if not gaps or len(sound) == 0:
        return clip
    level = np.quantile(np.sqrt(np.square(sound).mean(axis=1)), FAINT)
    moves, at = moving(clip), round(clip.start_s * SAMPLE_RATE)
    audio = clip.audio.copy()
    for first, last in gaps:
        mouth = moves[first * FPS // STEPS : -(-last * FPS // STEPS)].mean()
        if any(last - first >= steps and mouth >= share for steps, share in MUTED):
            continue
        here = np.arange(first * STEP, last * STEP)
        audio[here] = level * NOISE[(at + here) % len(NOISE)]
    return replace(clip, audio=audio)
