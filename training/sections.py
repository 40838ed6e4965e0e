"""The sections of a recipe: every key with its default, its range and what it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from avsr.base.inputs import refuse_url
from avsr.preprocessing.text import LANGUAGES

MOST = 10**9  # of anything that is counted
HEAVIEST = 1000.0  # weight of a loss


def _on_this_machine(value: Any, info: ValidationInfo) -> Any:
    refuse_url(value, info.field_name or "path")
    return value


LocalPath = Annotated[Path, BeforeValidator(_on_this_machine)]


class Section(BaseModel):
    """Unknown keys and values out of range are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_switches(cls, value: Any) -> Any:
        """There are no switches here: pydantic would take true for 1."""
        if isinstance(value, bool):
            raise ValueError("a number or a text is wanted, not true or false")
        return value


class DataConfig(Section):
    """Which clips make a batch, and how they are read."""

    use: Literal["both", "audio", "video"] = Field(
        "both", description="what is shown; a specialist sees one modality"
    )
    train_split: str = "train"
    val_split: str = "val"
    max_frames: int = Field(
        1800, ge=75, le=MOST, description="frames in a batch, padding included, on each device"
    )
    audio_only_share: float = Field(
        0.25, ge=0, lt=1, description="share of clips without video in an epoch"
    )
    balance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="0: all clips with video alike often, 1: all speakers; shares are n^(1-b)",
    )
    join: float = Field(
        0.1, ge=0, le=1, description="share of clips that other sentences of the speaker follow"
    )
    join_most: int = Field(1, ge=1, le=20, description="most sentences that follow one")
    max_dropped: float = Field(
        0.2,
        ge=0,
        le=1,
        description="largest share of clips without text, or too short for it",
    )
    cache_gb: float = Field(
        4.0, ge=0, le=1e6, description="clips are kept decoded in memory up to this size"
    )
    workers: int = Field(1, ge=0, le=64)
    stream: Literal["auto", "yes", "no"] = Field(
        "auto",
        description="shards are read front to back, and not clip by clip: auto where they lie "
        "behind a URL",
    )
    shuffle_frames: int = Field(
        100_000,
        ge=1,
        le=MOST,
        description="frames that each loader process holds to draw from where it streams, "
        "undecoded: about 1.3 KB each",
    )


class TokensConfig(Section):
    """What a model writes with. A run that starts from ``init`` takes all of it from there."""

    kind: Literal["characters", "pieces"] = Field(
        "characters", description="or sub-word pieces, learnt from the training texts"
    )
    size: int = Field(1000, ge=8, le=50_000, description="of pieces, the most")
    language: str = Field(
        "",
        description="texts are learnt in small letters without punctuation, as this language needs "
        "it: de, en, fr, zh, ...; empty: as they are",
    )

    @field_validator("language")
    @classmethod
    def _known(cls, language: str) -> str:
        if language and language not in LANGUAGES:
            raise ValueError(f"leave it empty, or choose among {', '.join(LANGUAGES)}")
        return language


class AugmentConfig(Section):
    """What is done to the clips of a training."""

    splice: float = Field(
        0.0, ge=0, le=1, description="probability of a sentence spliced from clips of one speaker"
    )
    splice_speakers: float = Field(
        0.0, ge=0, le=1, description="share of those with words of other speakers in them"
    )
    non_speech: float = Field(
        0.03, ge=0, le=0.5, description="share of clips in which nobody speaks"
    )
    other_speech: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of clips with speech of voices_dir, which has no words of ours: blanks",
    )
    tight_joins: float = Field(
        0.0, ge=0, le=1, description="of joins, the share with hardly a pause: at most 0.2 s"
    )
    speed: float = Field(
        0.25, ge=0, le=0.5, description="largest change of speed, in log, sound and lips together"
    )
    uneven: float = Field(
        0.15, ge=0, le=0.5, description="how far it wanders within such a clip, in log"
    )
    noise: float = Field(0.6, ge=0, le=1, description="probability of added noise")
    noise_warmup: int = Field(
        6, ge=0, le=MOST, description="epochs over which that probability rises from nothing"
    )
    snr_low_db: float = Field(-10.0, ge=-30, le=60)
    snr_high_db: float = Field(20.0, ge=-30, le=60)
    noise_dir: LocalPath | None = Field(None, description="folder of noise recordings, 16 kHz wav")
    voices_dir: LocalPath | None = Field(
        None,
        description="folder of recordings of people who speak: half of all other voices",
    )
    rir_dir: LocalPath | None = Field(
        None, description="folder of room impulse responses, 16 kHz wav"
    )
    room: float = Field(
        0.2, ge=0, le=1, description="probability of a room, where rir_dir is given"
    )
    equalise: float = Field(
        0.3, ge=0, le=1, description="probability of a coloured or band-limited channel"
    )
    codec: float = Field(
        0.1, ge=0, le=1, description="probability, for sound and picture each, of lossy compression"
    )
    spans: float = Field(
        0.3,
        ge=0,
        le=1,
        description="probability, for each stream, of spans or frames marked absent",
    )
    unindicated: float = Field(
        0.08,
        ge=0,
        le=1,
        description="probability, for each stream, of an absence that no mask indicates",
    )
    voice: float = Field(
        0.2,
        ge=0,
        le=1,
        description="probability of another pitch and other formants, lips unchanged",
    )
    wrong_lips: float = Field(
        0.05, ge=0, le=0.5, description="share of clips that show the lips of another one"
    )
    homophenes: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="probability that a word shows the lips of one that looks alike: a homophene",
    )
    homophene_groups: tuple[str, ...] = Field(
        (),
        description="words that look alike, in the spelling of the texts: 'b p m'",
    )
    out_of_sync: float = Field(
        0.08, ge=0, le=0.5, description="share of clips whose lips come too early or too late"
    )
    talker: float = Field(
        0.12,
        ge=0,
        le=1,
        description="share of added noise that is one voice; of speakers seen, half their own",
    )
    babble: float = Field(
        0.53, ge=0, le=1, description="share of added noise that is three to seven voices"
    )
    own_babble: float = Field(
        0.0, ge=0, le=1, description="of babble, the share that is the speaker's own, if seen"
    )
    formants: float = Field(
        0.15, ge=0, le=0.5, description="largest relative change of vocal tract length"
    )
    mel_masks: int = Field(
        2, ge=0, le=10, description="time masks and frequency masks on the log-mel"
    )
    video_masks: int = Field(2, ge=0, le=10, description="short spans of lips marked absent")
    shift_px: float = Field(4.0, ge=0, le=20)
    rotate_deg: float = Field(6.0, ge=0, le=45)
    scale: float = Field(0.1, ge=0, le=0.5)
    flip: float = Field(0.5, ge=0, le=1)
    warp_px: float = Field(
        4.0,
        ge=0,
        le=10,
        description="largest deviation (std) of a smooth warp: another mouth",
    )
    perspective: float = Field(
        0.1, ge=0, le=0.3, description="largest share by which a side is nearer; also of shear"
    )
    picture: float = Field(
        0.3,
        ge=0,
        le=1,
        description="probability, each, of another tone curve, blur; noise, occlusion",
    )
    light: float = Field(0.3, ge=0, le=1, description="probability of light from one side")
    texture: float = Field(
        0.2, ge=0, le=1, description="probability of a random convolution, where there is no blur"
    )
    borrow: float = Field(
        0.3, ge=0, le=1, description="probability that the still picture is in part another clip's"
    )

    @field_validator("homophene_groups")
    @classmethod
    def _groups_of_words(cls, groups: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if any(len(set(group.split())) < 2 for group in groups):
            raise ValueError("each is a group of two words or more, such as 'b p'")
        if info.data.get("homophenes") and not groups:
            raise ValueError(
                "homophenes is above 0: name the groups of words that look alike, such as ['b p']"
            )
        return groups

    @field_validator("snr_high_db")
    @classmethod
    def _not_below_the_low_one(cls, high: float, info: ValidationInfo) -> float:
        if high < info.data.get("snr_low_db", high):
            raise ValueError("at least snr_low_db")
        return high

    @field_validator("babble")
    @classmethod
    def _one_noise_a_clip(cls, babble: float, info: ValidationInfo) -> float:
        if babble + info.data.get("talker", 0) > 1:
            raise ValueError("talker and babble are shares of the added noise: at most 1 together")
        return babble

    @field_validator("unindicated")
    @classmethod
    def _one_absence_a_clip(cls, unindicated: float, info: ValidationInfo) -> float:
        if unindicated + info.data.get("spans", 0) > 0.5:
            raise ValueError(
                "spans and unindicated are shares of each stream, and a clip gets one of them: at "
                "most 0.5 together"
            )
        return unindicated


class LossConfig(Section):
    """What is minimised, and how much each part of it counts."""

    streams_first: float = Field(
        0.25, ge=0, le=1, description="share of the run before the streams are fused"
    )
    lips_only: float = Field(
        0.4, ge=0, le=1, description="share of clips whose sound is kept from the fused part"
    )
    sound_only: float = Field(
        0.2, ge=0, le=1, description="share of clips whose lips are kept from the fused part"
    )
    stream: float = Field(
        0.5,
        ge=0,
        le=HEAVIEST,
        description="CTC of each stream's own head, once they are fused; 1 before",
    )
    frame: float = Field(
        1.0, ge=0, le=HEAVIEST, description="frame targets from the word alignment, at the start"
    )
    frame_end: float = Field(
        0.1, ge=0, le=HEAVIEST, description="the same from the middle of the run on"
    )
    blank: float = Field(
        0.5, ge=0, le=HEAVIEST, description="blank where the word alignment has no word"
    )
    distil: float = Field(
        0.3, ge=0, le=HEAVIEST, description="posteriors on clean sound teach whatever gets less"
    )
    teacher: Literal["audio", "full"] = Field(
        "audio", description="the audio stream; or all, once it is fused"
    )
    contrastive: float = Field(
        0.2, ge=0, le=HEAVIEST, description="InfoNCE of the audio-visual embedding"
    )
    attention: float = Field(
        1.0,
        ge=0,
        le=HEAVIEST,
        description="cross-entropy of the attention decoder, where the model has one",
    )
    distil_start: float = Field(
        0.2, ge=0, le=1, description="share of the run after which the teacher is trusted"
    )
    mwer: float = Field(
        0.0,
        ge=0,
        le=HEAVIEST,
        description="minimum word error rate training of the fused part: paths drawn from it",
    )

    @field_validator("sound_only")
    @classmethod
    def _something_is_left(cls, sound_only: float, info: ValidationInfo) -> float:
        if sound_only + info.data.get("lips_only", 0) > 1:
            raise ValueError("lips_only and sound_only are shares of the clips: at most 1 together")
        return sound_only


class OptimConfig(Section):
    """Steps, learning rates and numbers."""

    steps: int = Field(4000, ge=1, le=MOST)
    accumulate: int = Field(
        1, ge=1, le=1000, description="batches of each device in a step, one after the other"
    )
    lr: float = Field(1e-3, gt=0, le=1)
    encoder_lr: float = Field(
        1.0, gt=0, le=1, description="learning rate of a whisper encoder, as a share of lr"
    )
    warmup: int = Field(200, ge=0, le=MOST)
    weight_decay: float = Field(0.02, ge=0, le=1)
    clip_norm: float = Field(2.0, gt=0, le=1e6)
    ema: float = Field(
        0.998, ge=0, lt=1, description="decay of the averaged weights, which are what is saved"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    compile: Literal["off", "on"] = Field(
        "off", description="torch.compile of the blocks: slower on a CPU, and anew for each length"
    )
