"""Audio-visual contrastive embedding: are sound and lips synchronised, and whose lips go with a
voice.

Each stream is encoded without the other, so that frames of sound and frames of lips can be compared
in any pairing. Training draws those of one moment together (contrast of sound and lips, as in Chung
& Zisserman, "Out of time", 2016).

T  frames, 25 a second        P  width of the embedding
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from avsr.base.errors import AvsrError
from avsr.model.batches import batches_by_length, compute, mask
from avsr.preprocessing.clip import FPS, Clip

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from avsr.model.config import ModelConfig
    from avsr.model.network import AVSR

MAX_FRAMES = 15  # search range of an offset, 0.6 s either way
MIN_FRAMES = 12  # fewer frames of speech with sound and lips both there, half a second, say nothing
REACH = 3  # frames around a letter that the lips spell, in which they count as speaking
# frames that sound and lips may be apart in `match`: of s1's clips in GRID 15 % are found one frame
# off
SLACK = 1
NO_MATCH = -np.inf  # score of a pair that has too little in common; below every cosine

# Recordings that are out of sync are put right on the way to the recogniser. Set on GRID s1, s2,
# s3, s5, s30, s31.
FAR_FRAMES = 30  # search range there, 1.2 s either way
HARMLESS_FRAMES = 2  # 80 ms either way cost nothing
# score, and margin above every lag further than NEIGHBOURS; of s1 nearly all clips reach both
CERTAIN = 0.6, 0.35
# or less of both, where the lips fit so much worse as they are: of others 15 of 20 clips
UNFIT = 0.5, 0.25, 0.4
NEIGHBOURS = 3  # frames around the best lag, which must score well too

Scores = dict[int, tuple[float, int]]
"""At each lag the mean cosine of sound and lips, and over how many frames it is."""


class Recogniser(Protocol):
    """What is needed of a recogniser here: our network and where somebody speaks; `load_model`
    makes one."""

    name: str
    model: AVSR
    config: ModelConfig
    info: dict[str, Any]
    device: torch.device

    @property
    def activity(self) -> Callable[[Clip], tuple[np.ndarray, np.ndarray]]: ...


@dataclass(frozen=True)
class Embedding:
    """A clip whose sound and lips are embedded in one space.

    Attributes:
        id: of the clip.
        audio: (T, P) float32 unit vectors, zeros where there is no sound.
        video: (T, P) float32 unit vectors, zeros where there are no lips.
        audio_present: (T,) bool.
        video_present: (T,) bool.
        speaking: (T,) bool, frames in which the lips spell something: closed lips look alike at any
            moment.
    """

    id: str
    audio: np.ndarray
    video: np.ndarray
    audio_present: np.ndarray
    video_present: np.ndarray
    speaking: np.ndarray


@dataclass(frozen=True)
class Offset:
    """How far the sound lags behind the picture.

    Attributes:
        frames: 40 ms frames by which the sound comes later than the picture; negative where it
            comes earlier.
        score: mean cosine of sound and lips at that lag, -1 to 1.
        confidence: how far that stands above the median of all lags, 0 to 2; the less the lag
            stands out, as with noise, or a voice that is not that of these lips, the lower. No
            probability.
        lags: (L,) int64, the lags that could be judged, frames.
        scores: (L,) float64, mean cosine at each of them.
    """

    frames: int
    score: float
    confidence: float
    lags: np.ndarray = field(repr=False, compare=False)
    scores: np.ndarray = field(repr=False, compare=False)

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.frames / FPS


def embed(recogniser: Recogniser, clips: Sequence[Clip]) -> list[Embedding]:
    """Embeds clips, several at a time.

    Args:
        recogniser: of `avsr.load_model`, with a trained embedding.
        clips: short enough for one window each, as in `Recogniser.recognise`; what is absent is
            left out.

    Returns:
        One for each clip, in the order given.

    Raises:
        AvsrError: the model's embedding was not trained.
    """
    _check_trained(recogniser)
    found = [_nowhere(clip, recogniser.config.space_dim) for clip in clips]
    usable = [
        i for i, clip in enumerate(clips) if clip.audio_present.any() or clip.video_present.any()
    ]
    for batch in batches_by_length(usable, [clip.frames for clip in clips]):
        for i, space in zip(batch, _encode(recogniser, [clips[i] for i in batch]), strict=True):
            found[i] = space
    return found


def offset(recogniser: Recogniser, clip: Clip, max_frames: int = MAX_FRAMES) -> Offset | None:
    """By how much the sound of a clip lags behind its lips; see `find_offset`.

    Args:
        recogniser: of `avsr.load_model`, with a trained embedding.
        clip: the clip as it is in the file; a second or more of speech.
        max_frames: largest lag that is looked for, either way.

    Raises:
        AvsrError: the model's embedding was not trained, or max_frames is less than 1.
    """
    _check_range(max_frames)
    return find_offset(embed(recogniser, [clip])[0], max_frames)


def find_offset(space: Embedding, max_frames: int = MAX_FRAMES) -> Offset | None:
    """The lag at which sound and lips are most alike, over the frames in which the lips speak.

    Lags at which fewer than half as many frames meet as without a lag are left out: few frames fit
    by chance.

    Args:
        space: of `embed`.
        max_frames: largest lag that is looked for, either way.

    Returns:
        The offset; None where sound and speaking lips are there together for less than half a
        second.

    Raises:
        AvsrError: max_frames is less than 1.
    """
    return best_of(lag_scores(space, max_frames))


def lag_scores(space: Embedding, max_frames: int) -> Scores:
    """At each lag the mean cosine of sound and lips, over how many frames it is; raises as
    `find_offset`."""
    _check_range(max_frames)
    return {lag: _meet(space, space, lag) for lag in range(-max_frames, max_frames + 1)}


def pooled(parts: Sequence[Scores]) -> Scores:
    """The lag_scores of a whole from those of its parts: means over all of their frames."""
    found: Scores = {}
    for lag in range(-FAR_FRAMES, FAR_FRAMES + 1):
        counts = [part[lag][1] for part in parts]
        total = sum(part[lag][0] * part[lag][1] for part in parts if part[lag][1])
        found[lag] = (total / sum(counts), sum(counts)) if sum(counts) else (NO_MATCH, 0)
    return found


def best_of(met: Scores) -> Offset | None:
    """As `find_offset`, of its lag_scores."""
    if met[0][1] < MIN_FRAMES:
        return None
    judged = [lag for lag, (_, count) in met.items() if count >= max(MIN_FRAMES, met[0][1] / 2)]
    scores = np.array([met[lag][0] for lag in judged], np.float64)
    best = int(scores.argmax())
    confidence = float(scores[best] - np.median(scores))
    return Offset(judged[best], float(scores[best]), confidence, np.array(judged, np.int64), scores)


def offset_of(
    recogniser: Recogniser, clips: Iterable[Clip], max_frames: int = FAR_FRAMES
) -> Offset | None:
    """By how much the sound of a whole recording lags behind its lips.

    Args:
        recogniser: of `avsr.load_model`, with a trained embedding.
        clips: the recording as clips that follow each other, each short enough for one window.
        max_frames: largest lag that is looked for, either way.

    Returns:
        As `find_offset`.

    Raises:
        AvsrError: the model's embedding was not trained, or max_frames is less than 1.
    """
    _check_range(max_frames)
    spaces = list(embedded(recogniser, clips))
    return find_offset(joined(spaces), max_frames) if spaces else None


def embedded(recogniser: Recogniser, clips: Iterable[Clip]) -> Iterator[Embedding]:
    """The clips of a recording, each embedded as it comes; raises as `embed`."""
    _check_trained(recogniser)
    for clip in clips:
        both = clip.audio_present.any() and clip.video_present.any()
        empty = _nowhere(clip, recogniser.config.space_dim)
        yield each_alone(recogniser, clip) if both else empty


def joined(parts: Sequence[Embedding]) -> Embedding:
    """Parts of a recording that follow each other, at least one, as a whole."""
    names = ("audio", "video", "audio_present", "video_present", "speaking")
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Embedding(parts[0].id, **whole)


def each_alone(recogniser: Recogniser, clip: Clip) -> Embedding:
    """A clip embedded, each stream encoded from where it begins to where it ends.

    What lies before a stream that begins late would blur it: encoders look around.
    """
    kinds = ("audio", clip.audio_present), ("video", clip.video_present)
    edges = [
        (int(there[0]), int(there[-1]) + 1)
        for there in (np.flatnonzero(present) for _, present in kinds)
    ]
    parts = [mask(clip.window(*edge), kind) for (kind, _), edge in zip(kinds, edges, strict=True)]
    heard, seen = embed(recogniser, parts)
    space = _nowhere(clip, heard.audio.shape[1])
    audio, video, speaking = (np.zeros_like(x) for x in (space.audio, space.video, space.speaking))
    audio[slice(*edges[0])], video[slice(*edges[1])] = heard.audio, seen.video
    speaking[slice(*edges[1])] = seen.speaking
    return Embedding(clip.id, audio, video, clip.audio_present, clip.video_present, speaking)


def is_certain(found: Offset) -> bool:
    """Whether an offset is beyond doubt: sound and lips fit well there, and elsewhere, or as they
    are, much worse.

    Of 159 synchronised clips and as many with the lips of another clip, UNFIT moves none and
    CERTAIN one of the latter.
    """
    as_is = found.scores[np.abs(found.lags) <= HARMLESS_FRAMES]
    if len(as_is) == 0:
        return False
    above, gain = margin(found), found.score - as_is.max()
    fits = found.score >= CERTAIN[0] and above >= CERTAIN[1]
    return bool(fits or (found.score >= UNFIT[0] and above >= UNFIT[1] and gain >= UNFIT[2]))


def margin(found: Offset) -> float:
    """How far the score of an offset stands above that of every lag that is not near; below every
    other margin where no such lag could be judged."""
    elsewhere = found.scores[np.abs(found.lags - found.frames) > NEIGHBOURS]
    return float(found.score - elsewhere.max()) if len(elsewhere) else NO_MATCH


def match(
    recogniser: Recogniser, sounds: Sequence[Clip], pictures: Sequence[Clip], slack: int = SLACK
) -> np.ndarray:
    """How well the sound of each clip goes with the lips of each other; see `compare`.

    One sound and several face tracks of the same stretch of time tell who is speaking: the largest
    score of the row.

    Args:
        recogniser: of `avsr.load_model`, with a trained embedding.
        sounds: n clips whose sound is meant.
        pictures: m clips whose lips are meant; frame t of each is set against frame t of a sound.
        slack: frames by which the two may be out of sync.

    Returns:
        (n, m) float64, see `compare`.

    Raises:
        AvsrError: the model's embedding was not trained, or the slack is negative.
    """
    heard = embed(recogniser, [mask(clip, "audio") for clip in sounds])
    seen = embed(recogniser, [mask(clip, "video") for clip in pictures])
    return compare(heard, seen, slack)


def compare(
    sounds: Sequence[Embedding], pictures: Sequence[Embedding], slack: int = SLACK
) -> np.ndarray:
    """Mean cosine of each sound and each pair of lips, frame by frame, over the frames in which the
    lips speak.

    Args:
        sounds: n clips of `embed` whose sound is meant.
        pictures: m clips of `embed` whose lips are meant.
        slack: frames by which the two may be out of sync; the best lag within it counts.

    Returns:
        (n, m) float64 in [-1, 1]; minus infinity for a pair whose sound and speaking lips are there
        together for less than half a second.

    Raises:
        AvsrError: the slack is negative.
    """
    if slack < 0:
        raise AvsrError(f"slack {slack} is negative: give 0 or more frames, {SLACK} is usual")
    scores = np.full((len(sounds), len(pictures)), NO_MATCH)
    for i, sound in enumerate(sounds):
        for j, picture in enumerate(pictures):
            met = (_meet(sound, picture, lag) for lag in range(-slack, slack + 1))
            scores[i, j] = max(
                (score for score, count in met if count >= MIN_FRAMES), default=NO_MATCH
            )
    return scores


def _meet(sound: Embedding, picture: Embedding, lag: int) -> tuple[float, int]:
    """Mean cosine of sound t + lag and lips t, over the frames t in which the lips speak, and how
    many these are."""
    first, last = max(0, -lag), min(len(picture.video), len(sound.audio) - lag)
    seen, heard = slice(first, max(first, last)), slice(first + lag, max(first, last) + lag)
    both = sound.audio_present[heard] & (picture.video_present & picture.speaking)[seen]
    count = int(both.sum())
    if count == 0:
        return NO_MATCH, 0
    return float((sound.audio[heard][both] * picture.video[seen][both]).sum() / count), count


def _check_range(max_frames: int) -> None:
    if max_frames < 1:
        raise AvsrError(
            f"max_frames {max_frames} is too small: give 1 or more, {MAX_FRAMES} is usual"
        )


def is_trained(recogniser: Recogniser) -> bool:
    """Whether the model has an embedding that holds anything: neither all zeros nor never
    trained."""
    model = recogniser.model
    recipe = recogniser.info.get("recipe")
    loss = recipe.get("loss") if isinstance(recipe, dict) else None
    if isinstance(loss, dict):
        weight = loss.get("contrastive", loss.get("space"))  # as it was called before
        if weight == 0:  # then the weights are those of the start
            return False
    spaces = (getattr(model, name, None) for name in ("audio_space", "video_space"))
    return all(space is not None and bool(space.weight.any()) for space in spaces)


def _check_trained(recogniser: Recogniser) -> None:
    """Raises one line where the model's embedding holds nothing."""
    if not is_trained(recogniser):
        raise AvsrError(
            f"model {recogniser.name!r} has no trained embedding of sound and lips: use a model "
            "trained with loss.contrastive > 0"
        )


def _nowhere(clip: Clip, width: int) -> Embedding:
    """A clip in which nothing is present."""
    empty, absent = np.zeros((clip.frames, width), np.float32), np.zeros(clip.frames, np.bool_)
    return Embedding(clip.id, empty, empty, absent, absent, absent)


def _encode(recogniser: Recogniser, clips: list[Clip]) -> list[Embedding]:
    """One pass of both streams over clips in which something is present."""
    sounds, lips, speaking = compute(partial(_both, recogniser.model), clips, recogniser.device)
    found = []
    for i, clip in enumerate(clips):
        own = slice(0, clip.frames)
        present = clip.audio_present, clip.video_present
        found.append(Embedding(clip.id, sounds[i, own], lips[i, own], *present, speaking[i, own]))
    return found


def _both(model: AVSR, *batch: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A batch embedded: sound (B, T, P), lips (B, T, P), zeros where absent, and where
    the lips speak (B, T)."""
    from torch.nn import functional as F

    streams = model.encode(*batch)
    heard, seen = streams.audio_present, streams.video_present
    letters = streams.video_log_probs.argmax(-1) != 0  # (B, R T)
    spoken = letters.unflatten(1, (seen.shape[1], -1)).any(-1) & seen  # (B, T)
    # Heads put a letter into one frame or two; the mouth moves before and after.
    spoken = F.max_pool1d(spoken.float().unsqueeze(1), 2 * REACH + 1, 1, REACH).squeeze(1) > 0
    sounds, lips = model.share(streams.audio, streams.video)
    sounds, lips = sounds.float() * heard.unsqueeze(-1), lips.float() * seen.unsqueeze(-1)
    return sounds.cpu().numpy(), lips.cpu().numpy(), (spoken & seen).cpu().numpy()
