"""Shards to batches: which clips, in what order, changed how; all of it a function of (seed, step)."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch.utils.data import DataLoader, Dataset

from avsr.config import ModelConfig
from avsr.preprocessing.clip import CROP_SIZE, FPS, SAMPLES_PER_FRAME
from avsr.preprocessing.errors import AvsrError
from avsr.preprocessing.shards import ShardEntry, ShardIndex
from avsr.tokenizer import Tokenizer
from avsr.training import augment
from avsr.training.augment import Sample
from avsr.training.batch import Batch, collate
from avsr.training.config import AugmentConfig, DataConfig

Key = tuple[int, int, int]  # epoch, clip, the clip that follows it or -1
FRAME_BYTES = CROP_SIZE**2 + 4 * SAMPLES_PER_FRAME + 2  # what a cached frame takes: lips, sound, two masks


def outputs_needed(ids: Sequence[int]) -> int:
    """Outputs that CTC needs for a target: one a token and one more between equal neighbours."""
    return len(ids) + sum(a == b for a, b in itertools.pairwise(ids))


class ClipStore:
    """Training clips of several prepared folders, read on demand or kept decoded in memory.

    Args:
        folders: prepared corpora.
        split: clips of this split are used; clips without any split count as ``train``.
        tokenizer: decides which texts can be written.
        cache_gb: clips are kept decoded up to this size.
        use: clips without this modality are dropped; both drops none.
        per_frame: CTC outputs of the model for each frame; too short a clip for its text is dropped.

    Attributes:
        dropped: (clip, reason) of every clip that cannot be trained on.
    """

    def __init__(
        self,
        folders: Sequence[str | Path],
        split: str,
        tokenizer: Tokenizer,
        cache_gb: float = 0,
        use: Literal["both", "audio", "video"] = "both",
        per_frame: int = 1,
    ) -> None:
        self.dropped: list[tuple[str, str]] = []
        self.entries: list[tuple[ShardIndex, int, ShardEntry]] = []
        for folder in folders:
            index = ShardIndex(folder)
            for i, entry in enumerate(index.entries):
                if (entry.split or "train") != split:
                    continue
                reason = unusable(entry, tokenizer, use, per_frame)
                if reason:
                    self.dropped.append((entry.id, reason))
                else:
                    self.entries.append((index, i, entry))
        total = sum(entry.frames for _, _, entry in self.entries) * FRAME_BYTES
        self._cache: dict[int, Sample] | None = {} if total <= cache_gb * 1e9 else None
        by_speaker: dict[tuple, list[int]] = defaultdict(list)  # clips that may be spliced with each other
        for i, (index, _, entry) in enumerate(self.entries):
            if entry.video_present and entry.speaker and entry.text:
                by_speaker[index.location, entry.speaker, len(entry.text.split())].append(i)
        self.seen = [i for i, (_, _, entry) in enumerate(self.entries) if entry.video_present]
        self.group = {i: members for members in by_speaker.values() for i in members}

    def __len__(self) -> int:
        return len(self.entries)

    def frames(self, i: int) -> int:
        return self.entries[i][2].frames

    def text(self, i: int) -> str:
        return self.entries[i][2].text or ""

    def has_video(self, i: int) -> bool:
        return self.entries[i][2].video_present > 0

    def others(self, i: int) -> list[int]:
        """The other clips with lips of the same speaker and the same number of words; none for a clip without lips."""
        return [j for j in self.group.get(i, ()) if j != i]

    def another(self, i: int, rng: Generator) -> int:
        """One of ``others``; -1 where there is none."""
        others = self.others(i)
        return int(rng.choice(others)) if others else -1

    def saying(self, i: int, place: int, words: set[str]) -> list[int]:
        """Those of ``others`` in which the word in that place is one of these."""
        return [j for j in self.others(i) if self.text(j).split()[place] in words]

    def preload(self) -> None:
        """Fills the cache, where the corpus fits; done before worker processes fork, so that they share it."""
        if self._cache is not None:
            for i in range(len(self)):
                self.sample(i)

    def sample(self, i: int) -> Sample:
        """Clip i as it was prepared."""
        if self._cache is not None and i in self._cache:
            return self._cache[i]
        index, position, _ = self.entries[i]
        clip, meta = index.load(position), index.meta(position)
        spelt, times = (clip.text or "").split(), meta.get("words") or []  # times may come in another letter case
        words = [(word, float(a), float(b)) for word, (_, a, b) in zip(spelt, times, strict=True)] if times else None
        sample = Sample(
            clip.id,
            clip.text or "",
            clip.speaker,
            clip.audio,
            clip.lips,
            clip.audio_present,
            clip.video_present,
            words,
        )
        if self._cache is not None:
            self._cache[i] = sample
        return sample


def unusable(entry: ShardEntry, tokenizer: Tokenizer, use: str, per_frame: int) -> str | None:
    """Why a clip of an index cannot be trained on, or None."""
    if not entry.text:
        return "no text"
    if use == "audio" and not entry.audio_present:
        return "no sound, and data.use is audio"
    if use == "video" and not entry.video_present:
        return "no lips, and data.use is video"
    try:
        need = math.ceil(outputs_needed(tokenizer.encode(entry.text)) / per_frame)
    except ValueError as error:
        return str(error)
    if entry.frames < need:
        return f"{entry.frames} frames are too few for CTC, its text needs {need}"
    return None


def frame_targets(sample: Sample, tokenizer: Tokenizer) -> np.ndarray:
    """(T,) int64: letters spread evenly over each word's span, blank outside words; -1 where no alignment is known."""
    if sample.words is None:
        return np.full(sample.frames, -1, np.int64)
    out = np.zeros(sample.frames, np.int64)
    middles = (np.arange(sample.frames) + 0.5) / FPS
    for word, start, end in sample.words:
        inside = np.flatnonzero((middles >= start) & (middles < end))
        letters = np.array(tokenizer.encode(word))
        out[inside] = letters[(np.arange(len(inside)) * len(letters)) // max(1, len(inside))]
    return out


class TrainSet(Dataset):
    """Augmented clips; item (epoch, i, follower or -1) is the same whenever and wherever it is asked for."""

    def __init__(
        self,
        store: ClipStore,
        tokenizer: Tokenizer,
        model: ModelConfig,
        config: AugmentConfig,
        seed: int,
        use: Literal["both", "audio", "video"] = "both",
    ) -> None:
        self.store, self.tokenizer, self.model, self.config, self.seed = store, tokenizer, model, config, seed
        self.use = use
        self.noises = read_recordings(config.noise_dir)
        self.rooms = read_recordings(config.rir_dir)
        self.lookalikes: dict[str, set[str]] = defaultdict(set)  # word -> those that look like it
        for group in config.lookalike_groups:
            for word in group.split():
                self.lookalikes[word] |= set(group.split()) - {word}
        said = {word for i in store.seen for word in store.text(i).split()} if config.lookalike else set()
        if said and not said & set(self.lookalikes):
            raise AvsrError(
                f"augment.lookalike is {config.lookalike}, but no clip with lips says any of "
                f"augment.lookalike_groups: name words of this corpus, in its spelling, or set augment.lookalike=0"
            )

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: Key) -> dict:
        epoch, i, follower = key
        config, rng = self.config, default_rng([self.seed, epoch, i])
        sample = self._speech(i, follower, rng)
        if self.use == "audio":
            sample = replace(sample, video_present=np.zeros_like(sample.video_present))
        elif self.use == "video":
            sample = replace(sample, audio_present=np.zeros_like(sample.audio_present))
        mismatch, wrong, lips_needed = rng.random(), False, False
        least_db = -np.inf
        paired = bool(sample.audio_present.any() and sample.video_present.any())  # one alone disagrees with nothing
        in_step = mismatch >= config.wrong_lips + config.out_of_step or not paired
        if rng.random() < config.nothing:
            sample, in_step = augment.nothing(sample, self._background(len(sample.audio), rng), rng), True
            audio = sample.audio
        else:
            wrong = not in_step and mismatch < config.wrong_lips and len(self.store.seen) > 1
            if wrong:
                sample, least_db = augment.with_lips_of(sample, self._other_lips(i, rng)), 5.0
            elif not in_step:
                sample = augment.out_of_step(sample, int(rng.integers(2, 11)) * int(rng.choice([-1, 1])))
            elif paired and config.lookalike and rng.random() < config.lookalike:
                shown = self._lookalike(sample, i, rng)
                if shown is not sample:
                    # Only the sound tells the word, so it must be there to be heard.
                    sample, wrong, in_step, least_db = shown, True, False, 0.0
            ramp = min(1.0, epoch / config.noise_warmup) if config.noise_warmup else 1.0
            lips_help = in_step and paired and bool(sample.video_present.mean() > 0.5)
            audio, lips_needed = self._heard(sample, i, rng, ramp, lips_help, least_db)
        ids = self.tokenizer.encode(sample.text)
        frames = sample.frames
        audio_present, video_present = sample.audio_present.copy(), sample.video_present.copy()
        lips = augment.picture(sample.lips, self.model.crop, config, rng) if video_present.any() else None
        if lips is None:
            lips = np.zeros((frames, self.model.crop, self.model.crop), np.uint8)
        video_present &= ~augment.short_masks(frames, config.video_masks, 8, rng) | lips_needed
        if (
            audio_present.any() and video_present.any() and not wrong
        ):  # a clip with one modality keeps it, and one of two stays whole
            gone, black, draw = augment.absences(frames, rng), rng.random() < 0.5, rng.random()
            unmarked = gone | (rng.random() < 0.3)  # or silence under moving lips means: nobody speaks
            if draw < config.spans:
                audio_present &= ~gone
            elif draw < 2 * config.spans:
                video_present &= ~gone | lips_needed
            elif draw < 2 * config.spans + config.silent:
                audio = audio * ~unmarked.repeat(SAMPLES_PER_FRAME)
            elif draw < 2 * (config.spans + config.silent) and not lips_needed:
                lips[unmarked] = 0 if black else lips[0]
        return {
            "audio": audio,
            "clean_audio": sample.audio,
            "lips": lips,
            "audio_present": audio_present,
            "clean_present": sample.audio_present,
            "video_present": video_present,
            "mel_keep": augment.mel_keep(frames, self.model.n_mels, config.mel_masks, rng),
            "formants": np.exp(rng.uniform(-config.formants, config.formants)) if rng.random() < 0.5 else 1.0,
            "in_step": in_step,
            "lips_needed": lips_needed,
            "targets": np.array(ids, np.int64),
            "frame_targets": frame_targets(sample, self.tokenizer),
            "id": sample.id,
        }

    def _speech(self, i: int, follower: int, rng: Generator) -> Sample:
        """Clip i, spliced, followed by another, faster or slower, as may be; unchanged where CTC would not fit."""
        original = sample = self.store.sample(i)
        others = self.store.group.get(i, [])
        count = len(sample.words or ())
        if follower >= 0:
            second = self.store.sample(follower)
            if sample.words and second.words:
                sample = augment.join(sample, second, rng)
                original = sample if self._fits(sample) else original
        elif count > 1 and len(others) > 3 and rng.random() < self.config.splice:
            donors = [self.store.sample(int(j)) for j in rng.choice(others, int(rng.integers(1, 4)))]
            donors = [donor for donor in donors if donor.words and len(donor.words) == count]
            if donors:
                sample = augment.splice(sample, donors, rng)
        if self.config.speed and rng.random() < 0.5:
            factor = float(np.exp(rng.uniform(-self.config.speed, self.config.speed)))
            knots = 2 + sample.frames // 15  # one every 0.6 s, two or three words
            course = np.exp(self.config.uneven * rng.uniform(-1, 1, knots)) if self.config.uneven else None
            sample = augment.change_speed(sample, factor, course)
        return sample if self._fits(sample) else original

    def _fits(self, sample: Sample) -> bool:
        outputs = sample.frames * self.model.outputs_per_frame
        return outputs >= outputs_needed(self.tokenizer.encode(sample.text))

    def _lookalike(self, sample: Sample, i: int, rng: Generator) -> Sample:
        """Clip i, changed so far, with the lips of one word those of one that looks like it; the same where none is.

        Short words are drawn more often. On clips that it has learnt by heart the eye tells such words apart, and the
        fused part would learn that it always does.
        """
        words = sample.words or []
        if len(words) != len(self.store.sample(i).words or ()):  # another sentence follows: places are not the same
            return sample
        chances = np.array([len(self.lookalikes.get(word, ())) > 0 and 1 / len(word) for word, _, _ in words], float)
        if not chances.any():
            return sample
        place = int(rng.choice(len(words), p=chances / chances.sum()))
        donors = self.store.saying(i, place, self.lookalikes[words[place][0]])
        if not donors:
            return sample
        donor = self.store.sample(int(rng.choice(donors)))
        if not (donor.words and augment.whole(sample, place) and donor.video_present.all()):
            return sample
        return augment.with_lips_of_a_word(sample, place, donor)

    def _other_lips(self, i: int, rng: Generator) -> Sample:
        """Another clip with a picture."""
        others = self.store.seen
        return self.store.sample(others[(others.index(i) + int(rng.integers(1, len(others)))) % len(others)])

    def _heard(
        self, sample: Sample, i: int, rng: Generator, ramp: float, lips_help: bool, least_db: float
    ) -> tuple[np.ndarray, bool]:
        """The sound (N,) float32 of clip i in another voice, through a room and a channel, with noise and compressed.

        Args:
            sample: the clip, changed so far.
            i: its number.
            rng: draws all of it.
            ramp: factor of the probability of noise.
            lips_help: it comes with lips that tell which of two voices is meant; without, the other one is never the
                louder of the two.
            least_db: noise is at most as loud as this signal-to-noise ratio.

        Returns:
            The sound, and whether one other voice in it is the louder one.
        """
        config, audio, louder = self.config, sample.audio, False
        if rng.random() < config.voice:
            formants = float(np.exp(rng.uniform(-0.1, 0.2)))  # from a man's; women's and children's are shorter
            audio = augment.change_voice(audio, float(np.exp(rng.uniform(-0.25, 0.6))), formants)
        room = self.rooms[int(rng.integers(len(self.rooms)))] if self.rooms and rng.random() < config.room else None
        equalise = rng.random() < config.equalise
        if room is not None or equalise:
            audio = augment.channel(audio, room, equalise, rng)
        if rng.random() < config.noise * ramp:
            noise, talkers = self._noise(len(audio), i, rng)
            low = max(config.snr_low_db, least_db, 0.0 if talkers == 1 and not lips_help else -np.inf)
            snr_db = float(rng.uniform(low, max(low, config.snr_high_db)))
            audio, louder = augment.add_noise(audio, noise, snr_db), talkers == 1 and snr_db < 0 and bool(noise.any())
        return (augment.codec(audio, rng) if rng.random() < config.codec else audio), louder

    def _noise(self, samples: int, i: int, rng: Generator) -> tuple[np.ndarray, int]:
        """Noise for clip i and how many talk in it: babble of training clips, one talker, a recording, plain noise."""
        config, kind = self.config, rng.random()
        if kind >= config.talker + config.babble or len(self.store) < 2:
            return self._background(samples, rng), 0
        talkers = 1 if kind < config.talker else int(rng.integers(3, 8))
        share = 0.5 if talkers == 1 else config.own_babble
        own = self.store.others(i) if share and rng.random() < share else []
        picks = rng.choice(own, talkers) if own else rng.integers(len(self.store), size=talkers)
        voices = [augment.fit(self.store.sample(int(j)).audio, samples, rng) for j in picks]
        return np.stack([voice / max(1e-4, float(voice.std())) for voice in voices]).sum(0), talkers

    def _background(self, samples: int, rng: Generator) -> np.ndarray:
        """Noise without words: a recording or coloured noise."""
        if self.noises and rng.random() < 0.6:
            return augment.fit(self.noises[int(rng.integers(len(self.noises)))], samples, rng)
        return augment.coloured_noise(samples, float(rng.uniform(0, 2)), rng)


def read_recordings(folder: Path | None) -> list[np.ndarray]:
    """All sound files of a folder as (N,) float32, 16 kHz.

    Raises:
        AvsrError: the folder holds none, or a silent one.
    """
    if folder is None:
        return []
    from avsr.preprocessing import media

    files = sorted(p for p in Path(folder).glob("*") if p.suffix.lower() in {".wav", ".flac", ".ogg", ".mp3"})
    if not files:
        raise AvsrError(f"{folder}: no wav, flac, ogg or mp3 files there; name a folder of recordings")
    recordings = [np.concatenate([piece.audio for piece in media.read(path, video=False)]) for path in files]
    for path, recording in zip(files, recordings, strict=True):
        if not recording.any():
            raise AvsrError(f"{path}: silent, of no use as noise or as a room; remove it")
    return recordings


def plan_epoch(store: ClipStore, config: DataConfig, seed: int, epoch: int) -> list[list[Key]]:
    """The batches of an epoch: every clip with video once, some with another one after it, and a share without video.

    Clips of like length go together and batches come in random order. A batch holds at most ``max_frames`` frames,
    padding and the slowest change of speed included only in so far as the lengths in the index tell.
    """
    rng = default_rng([seed, epoch])
    seen = [i for i in range(len(store)) if store.has_video(i)]
    heard = [i for i in range(len(store)) if not store.has_video(i)]
    if seen and heard:
        wanted = round(len(seen) * config.audio_only_share / (1 - config.audio_only_share))
        heard = [int(i) for i in rng.choice(heard, min(wanted, len(heard)), replace=False)]
    keys = [(epoch, i, store.another(i, rng) if rng.random() < config.join else -1) for i in seen + heard]
    frames = [store.frames(i) + (store.frames(j) if j >= 0 else 0) for _, i, j in keys]
    # A little noise on the lengths, so that the same clips do not always meet.
    order = np.argsort(np.array(frames) * rng.uniform(0.85, 1.15, len(frames)))
    batches: list[list[Key]] = [[]]
    longest = 0
    for place in order:
        longest = max(longest, frames[place])
        if batches[-1] and longest * (len(batches[-1]) + 1) > config.max_frames:
            batches.append([])
            longest = frames[place]
        batches[-1].append(keys[place])
    return [batches[int(i)] for i in rng.permutation(len(batches))]


class Plan:
    """Batches of the steps from ``first`` to before ``last``; rank r of w takes every w-th.

    Resuming is starting at a later step: ``begun`` batches were taken before it, by all ranks, as many as these would
    have taken by default.
    """

    def __init__(
        self,
        store: ClipStore,
        config: DataConfig,
        seed: int,
        first: int,
        last: int,
        rank: int = 0,
        world: int = 1,
        begun: int | None = None,
    ) -> None:
        self.args = (store, config, seed)
        self.first, self.last, self.rank, self.world = first, last, rank, world
        self.begun = first * world if begun is None else begun

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, start = 0, 0  # start: global number of the epoch's first batch
        batches = plan_epoch(*self.args, epoch)
        for step in range(self.first, self.last):
            number = self.begun + (step - self.first) * self.world + self.rank
            while number >= start + len(batches):
                start += len(batches)
                epoch += 1
                batches = plan_epoch(*self.args, epoch)
            yield batches[number - start]


def loader(dataset: TrainSet, plan: Plan, workers: int) -> Iterator[Batch]:
    """Batches in the plan's order, made ahead in worker processes.

    Raises:
        AvsrError: a clip cannot be read.
    """
    batches = DataLoader(
        _Told(dataset),
        batch_sampler=plan,  # type: ignore[arg-type]  # its items are (epoch, clip, follower) keys
        collate_fn=_collate_told,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread,
    )
    for batch in batches:
        if isinstance(batch, AvsrError):
            raise batch
        yield batch


class _Told(Dataset):
    """The same items, and errors as items: raised in a worker, torch would wrap them into its traceback."""

    def __init__(self, dataset: TrainSet) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> dict | AvsrError:
        try:
            return self.dataset[key]
        except AvsrError as error:
            return error


def _collate_told(items: list[dict | AvsrError]) -> Batch | AvsrError:
    errors = [item for item in items if isinstance(item, AvsrError)]
    return errors[0] if errors else collate([item for item in items if isinstance(item, dict)])


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
