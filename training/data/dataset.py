"""Clips to batches: each changed at random, and all of it a function of (seed, step)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator, default_rng
from torch.utils.data import Dataset

from avsr.base.errors import AvsrError
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME
from avsr.preprocessing.synthetic.sounds import non_speech
from avsr.preprocessing.text import canonical
from avsr.training.config import AugmentConfig
from avsr.training.data.augmentation import augment
from avsr.training.data.augmentation.augment import Sample
from avsr.training.data.augmentation.pictures import draw_look
from avsr.training.data.augmentation.recordings import read_recordings
from avsr.training.data.plan import Key
from avsr.training.data.selection import Clips, Reads, Use, others, outputs_needed


def frame_targets(sample: Sample, tokenizer: Tokenizer) -> np.ndarray:
    """(T,) int64: letters spread evenly over each word's span, blank outside words; -1 where no
    alignment is known."""
    if sample.words is None:
        return np.full(sample.frames, -1, np.int64)
    out = np.zeros(sample.frames, np.int64)
    middles = (np.arange(sample.frames) + 0.5) / FPS
    for word, start, end in sample.words:
        inside = np.flatnonzero((middles >= start) & (middles < end))
        letters = np.array(tokenizer.encode(word), np.int64)
        out[inside] = letters[(np.arange(len(inside)) * len(letters)) // max(1, len(inside))]
    return out


@dataclass(frozen=True)
class Scene:
    """What is heard and seen of a clip, before anything of it is taken away.

    Attributes:
        sample: the clip, its lips perhaps another one's.
        audio: (N,) float32, what is heard of it.
        synchronised: the lips are those that said it, at that time.
        other_lips: some of the lips are another clip's, so the sound must stay to tell the words.
        lips_needed: one other voice is the louder one, so the lips must stay to tell who is meant.
    """

    sample: Sample
    audio: np.ndarray
    synchronised: bool = True
    other_lips: bool = False
    lips_needed: bool = False


class TrainSet(Dataset):
    """Augmented clips; item (epoch, i, followers) is the same whenever and wherever it is
    asked for."""

    def __init__(
        self,
        store: Clips,
        tokenizer: Tokenizer,
        model: Reads,
        config: AugmentConfig,
        seed: int,
        use: Use = "both",
    ) -> None:
        self.store, self.tokenizer, self.model, self.config, self.seed = (
            store,
            tokenizer,
            model,
            config,
            seed,
        )
        self.use = use
        self.noises = read_recordings(config.noise_dir)
        self.voices = read_recordings(config.voices_dir)
        self.rooms = read_recordings(config.rir_dir)
        self.homophenes: dict[str, set[str]] = defaultdict(set)  # word -> those that look like it
        for group in map(canonical, config.homophene_groups):
            for word in group.split():
                self.homophenes[word] |= set(group.split()) - {word}
        said = store.words_seen() if config.homophenes else set()
        if said and not said & set(self.homophenes):
            raise AvsrError(
                f"augment.homophenes is {config.homophenes}, but no clip with lips says any of "
                "augment.homophene_groups: name words of this corpus, in its spelling, or set "
                "augment.homophenes=0"
            )

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: Key) -> dict:
        epoch, i, followers, turn = Key(*key)
        config, rng = self.config, default_rng([self.seed, epoch, i, turn])
        scene = self._scene(self._used(self._speech(i, followers, rng)), i, epoch, rng)
        sample, frames = scene.sample, scene.sample.frames
        lips = sample.lips
        if sample.video_present.any():
            lips = augment.picture(lips, config, rng)
        audio, lips, audio_present, video_present = self._taken_away(scene, lips, rng)
        return {
            "audio": audio,
            "clean_audio": sample.audio,
            "lips": lips,
            "look": draw_look(config, rng),
            "audio_present": audio_present,
            "clean_present": sample.audio_present,
            "video_present": video_present,
            "mel_keep": augment.mel_keep(frames, self.model.n_mels, config.mel_masks, rng),
            "formants": np.exp(rng.uniform(-config.formants, config.formants))
            if rng.random() < 0.5
            else 1.0,
            "synchronised": scene.synchronised,
            "lips_needed": scene.lips_needed,
            "targets": np.array(self.tokenizer.encode(sample.text), np.int64),
            "frame_targets": frame_targets(sample, self.tokenizer),
            "id": sample.id,
        }

    def _used(self, sample: Sample) -> Sample:
        """The clip with the modality alone that the run uses."""
        if self.use == "audio":
            return replace(sample, video_present=np.zeros_like(sample.video_present))
        if self.use == "video":
            return replace(sample, audio_present=np.zeros_like(sample.audio_present))
        return sample

    def _scene(self, sample: Sample, i: int, epoch: int, rng: Generator) -> Scene:
        """Clip i, changed so far, with nobody speaking, or with lips that may not fit and sound
        that may be noisy."""
        config = self.config
        mismatch = rng.random()
        if rng.random() < config.non_speech:
            sounds = non_speech if rng.random() < 0.5 else self._background
            sample = augment.without_speech(sample, sounds(len(sample.audio), rng), rng)
            return Scene(sample, sample.audio)
        if self.voices and rng.random() < config.other_speech and sample.audio_present.any():
            sample = augment.other_speech(sample, self._voice(len(sample.audio), rng), rng)
            return Scene(
                sample,
                self._heard(sample, i, rng, 1.0, False, 5.0)[0],
                synchronised=False,
                other_lips=True,
            )
        shown, synchronised, other_lips, least_db = self._shown(sample, i, mismatch, rng)
        ramp = min(1.0, epoch / config.noise_warmup) if config.noise_warmup else 1.0
        lips_help = synchronised and _paired(sample) and bool(shown.video_present.mean() > 0.5)
        audio, lips_needed = self._heard(shown, i, rng, ramp, lips_help, least_db)
        return Scene(shown, audio, synchronised, other_lips, lips_needed)

    def _shown(
        self, sample: Sample, i: int, mismatch: float, rng: Generator
    ) -> tuple[Sample, bool, bool, float]:
        """The lips that go with the sound of clip i, changed so far.

        Args:
            sample: the clip.
            i: its number.
            mismatch: in [0, 1), drawn: which share of the clips it belongs to.
            rng: draws the rest.

        Returns:
            The clip with these lips; whether they are in step; whether some are another clip's;
            noise is at most as loud as this signal-to-noise ratio, so that the words can be told.
        """
        config = self.config
        if not _paired(sample):  # one alone disagrees with nothing
            return sample, True, False, -np.inf
        other = self.store.other_seen(i, rng) if mismatch < config.wrong_lips else None
        if other is not None:
            return augment.with_lips_of(sample, self.store.sample(other)), False, True, 5.0
        if mismatch < config.wrong_lips + config.out_of_sync:
            late = int(rng.integers(2, 11)) * int(rng.choice([-1, 1]))
            return augment.out_of_sync(sample, late), False, False, -np.inf
        if config.homophenes and rng.random() < config.homophenes:
            shown = self._homophene(sample, i, rng)
            if shown is not sample:  # only the sound tells the word
                return shown, False, True, 0.0
        return sample, True, False, -np.inf

    def _taken_away(
        self, scene: Scene, lips: np.ndarray, rng: Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What is left of sound and lips after short masks and longer absences, marked or not.

        Returns:
            audio (N,), lips (T, 96, 96), audio_present (T,), video_present (T,).
        """
        config, sample, audio, needed = self.config, scene.sample, scene.audio, scene.lips_needed
        audio_present, video_present = sample.audio_present.copy(), sample.video_present.copy()
        video_present &= ~augment.short_masks(sample.frames, config.video_masks, 8, rng) | needed
        # A clip with one modality keeps it, and one of two stays whole.
        if scene.other_lips or not (audio_present.any() and video_present.any()):
            return audio, lips, audio_present, video_present
        gone, black, draw = augment.absences(sample.frames, rng), rng.random() < 0.5, rng.random()
        unmarked = gone | (rng.random() < 0.3)  # or silence under moving lips means: nobody speaks
        if draw < config.spans:
            audio_present &= ~gone
        elif draw < 2 * config.spans:
            video_present &= ~gone | needed
        elif draw < 2 * config.spans + config.unindicated:
            audio = audio * ~unmarked.repeat(SAMPLES_PER_FRAME)
        elif draw < 2 * (config.spans + config.unindicated) and not needed:
            shown = ~unmarked[:, None, None]
            lips = lips * shown if black else np.where(shown, lips, lips[:1])
        return audio, lips, audio_present, video_present

    def _speech(self, i: int, followers: tuple[int, ...], rng: Generator) -> Sample:
        """Clip i, spliced, followed by others, faster or slower, as may be; unchanged where CTC
        would not fit."""
        original = sample = self.store.sample(i)
        alike = self.store.alike(i)
        count = len(sample.words or ())
        for follower in followers:
            second = self.store.sample(follower)
            if sample.words and second.words:
                sample = augment.join(sample, second, rng, rng.random() < self.config.tight_joins)
        if followers:
            original = sample if self._fits(sample) else original
        elif count > 1 and rng.random() < self.config.splice:
            wanted, picks = int(rng.integers(1, 4)), []
            if rng.random() < self.config.splice_speakers:
                picks = self.store.of_other_speakers(i, wanted, rng)
            elif len(alike) > 3:
                picks = rng.choice(alike, wanted).tolist()
            donors = [self.store.sample(j) for j in picks]
            donors = [donor for donor in donors if donor.words and len(donor.words) == count]
            if donors:
                sample = augment.splice(sample, donors, rng)
        if self.config.speed and rng.random() < 0.5:
            factor = float(np.exp(rng.uniform(-self.config.speed, self.config.speed)))
            knots = 2 + sample.frames // 15  # one every 0.6 s, two or three words
            course = (
                np.exp(self.config.uneven * rng.uniform(-1, 1, knots))
                if self.config.uneven
                else None
            )
            sample = augment.change_speed(sample, factor, course)
        return sample if self._fits(sample) else original

    def _fits(self, sample: Sample) -> bool:
        outputs = sample.frames * self.model.outputs_per_frame
        if self.model.longest is not None and sample.frames > self.model.longest:
            return False
        return outputs >= outputs_needed(self.tokenizer.encode(sample.text))

    def _homophene(self, sample: Sample, i: int, rng: Generator) -> Sample:
        """Clip i, changed so far, with the lips of one word those of one that looks like it; the
        same where none is.

        Short words are drawn more often. On clips that it has learnt by heart the visual encoder
        tells such words apart, and the fused part would learn that it always does.
        """
        words = sample.words or []
        # another sentence follows: places are not the same
        if len(words) != len(self.store.text(i).split()):
            return sample
        chances = np.array(
            [len(self.homophenes.get(word, ())) > 0 and 1 / len(word) for word, _, _ in words],
            float,
        )
        if not chances.any():
            return sample
        place = int(rng.choice(len(words), p=chances / chances.sum()))
        donors = self.store.saying(i, place, self.homophenes[words[place][0]])
        if not donors:
            return sample
        donor = self.store.sample(int(rng.choice(donors)))
        if not (donor.words and augment.whole(sample, place) and donor.video_present.all()):
            return sample
        return augment.with_lips_of_a_word(sample, place, donor)

    def _heard(
        self, sample: Sample, i: int, rng: Generator, ramp: float, lips_help: bool, least_db: float
    ) -> tuple[np.ndarray, bool]:
        """The sound (N,) float32 of clip i in another voice, through a room and a channel, with
        noise and compressed.

        Args:
            sample: the clip, changed so far.
            i: its number.
            rng: draws all of it.
            ramp: factor of the probability of noise.
            lips_help: it comes with lips that tell which of two voices is meant; without, the other
                one is never the louder of the two.
            least_db: noise is at most as loud as this signal-to-noise ratio.

        Returns:
            The sound, and whether one other voice in it is the louder one.
        """
        config, audio, louder = self.config, sample.audio, False
        if rng.random() < config.voice:
            # from a man's; women's and children's are shorter
            formants = float(np.exp(rng.uniform(-0.1, 0.2)))
            audio = augment.change_voice(audio, float(np.exp(rng.uniform(-0.25, 0.6))), formants)
        room = None
        if self.rooms and rng.random() < config.room:
            room = self.rooms.whole(int(rng.integers(len(self.rooms))))
        equalise = rng.random() < config.equalise
        if room is not None or equalise:
            audio = augment.channel(audio, room, equalise, rng)
        if rng.random() < config.noise * ramp:
            noise, talkers = self._noise(len(audio), i, rng)
            low = max(
                config.snr_low_db, least_db, 0.0 if talkers == 1 and not lips_help else -np.inf
            )
            snr_db = float(rng.uniform(low, max(low, config.snr_high_db)))
            audio, louder = (
                augment.add_noise(audio, noise, snr_db),
                talkers == 1 and snr_db < 0 and bool(noise.any()),
            )
        return (augment.codec(audio, rng) if rng.random() < config.codec else audio), louder

    def _noise(self, samples: int, i: int, rng: Generator) -> tuple[np.ndarray, int]:
        """Noise for clip i and how many talk in it: babble of training clips, one talker, a
        recording, plain noise."""
        config, kind = self.config, rng.random()
        if kind >= config.talker + config.babble or len(self.store) < 2:
            return self._background(samples, rng), 0
        talkers = 1 if kind < config.talker else int(rng.integers(3, 8))
        share = 0.5 if talkers == 1 else config.own_babble
        own = others(self.store, i) if share and rng.random() < share else []
        if not own and self.voices and rng.random() < 0.5:
            voices = [self._voice(samples, rng) for _ in range(talkers)]
        else:
            picks = rng.choice(own, talkers).tolist() if own else self.store.drawn(talkers, rng)
            voices = [augment.fit(self.store.audio(j), samples, rng) for j in picks]
        return np.stack([voice / max(1e-4, float(voice.std())) for voice in voices]).sum(0), talkers

    def _voice(self, samples: int, rng: Generator) -> np.ndarray:
        """A stretch (samples,) of somebody who says other things."""
        assert self.voices
        return self.voices.stretch(int(rng.integers(len(self.voices))), samples, rng)

    def _background(self, samples: int, rng: Generator) -> np.ndarray:
        """Noise without words: a recording, a synthetic sound or coloured noise."""
        kind = rng.random()
        if kind < 0.2 and (sound := non_speech(samples, rng)).any():
            return sound
        if self.noises and kind < 0.7:
            return self.noises.stretch(int(rng.integers(len(self.noises))), samples, rng)
        return augment.coloured_noise(samples, float(rng.uniform(0, 2)), rng)


def _paired(sample: Sample) -> bool:
    """Whether there are both sound and lips."""
    return bool(sample.audio_present.any() and sample.video_present.any())
