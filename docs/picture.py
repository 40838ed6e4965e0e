"""Makes captions.gif: the demo's clip, without a face at first and without sound at last.

    python docs/picture.py docs/captions.gif

The words come from `avsr.transcribe`; each gets its colour from its `audio_weight`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import avsr
from avsr.preprocessing.media.mp4 import write_video
from avsr.preprocessing.synthetic.corpus import make_clip
from avsr.transcribing.transcript import Word

FPS = 25
SAMPLE_RATE = 16_000
SEED = 12  # of the clip, as `avsr demo --seed`: one of those whose lips it reads right
COARSE_S = 0.44  # until then the picture is too coarse to show a face
COARSE = 24  # pixels, which divide width and height
MUTED_S = 1.30  # from then on there is no sound
STEP = 2  # every second frame is drawn: 12.5 a second
HOLD_MS = 1500  # the last picture stays, so that the sentence can be read

WAVE, CAPTION, LEGEND = 36, 44, 26  # heights of the strips below the picture, pixels
BACKGROUND, GREY, WHITE = (20, 23, 28), (84, 90, 100), (236, 238, 242)
LIP_READ, BOTH, HEARD = (
    (255, 166, 0),
    WHITE,
    (88, 166, 255),
)  # told apart by colour-blind people too
PHOTO_COLOURS = 40
SHOWN = slice(20, 260)  # rows of the picture that are drawn


def read_clip(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """All pictures (H, W, 3) uint8 and all samples (N,) float32 of a file."""
    with av.open(str(path)) as file:
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    with av.open(str(path)) as file:
        sound = [frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]
    return pictures, np.concatenate(sound).astype(np.float32)


def take_away(pictures: list[np.ndarray], sound: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """No face at the start, where a pixel is as large as an eye; no sound at the end."""
    coarse = round(COARSE_S * FPS)
    pixelated = [picture[::COARSE, ::COARSE] for picture in pictures[:coarse]]
    seen = [each.repeat(COARSE, axis=0).repeat(COARSE, axis=1) for each in pixelated]
    return seen + pictures[coarse:], sound[: round(MUTED_S * SAMPLE_RATE)]


def colour(audio_weight: float) -> tuple[int, int, int]:
    """From lip-read (0) over both (0.5) to heard (1)."""
    channels = zip(LIP_READ, BOTH, HEARD, strict=True)
    red, green, blue = (
        round(float(np.interp(audio_weight, (0.0, 0.5, 1.0), levels))) for levels in channels
    )
    return red, green, blue


def draw_wave(
    draw: ImageDraw.ImageDraw,
    top: int,
    width: int,
    sound: np.ndarray,
    length_s: float,
    now_s: float,
) -> None:
    """The loudness of the sound as bars; what has been played is bright."""
    bars = width // 4
    middle, loudest = top + WAVE // 2, float(np.abs(sound).max())
    for bar in range(bars):
        begin_s = bar / bars * length_s
        samples = sound[
            round(begin_s * SAMPLE_RATE) : round((begin_s + length_s / bars) * SAMPLE_RATE)
        ]
        half = 1 + round(float(np.abs(samples).max(initial=0.0)) / loudest * (WAVE // 2 - 3))
        fill = WHITE if begin_s <= now_s else GREY
        draw.rectangle((4 * bar + 1, middle - half, 4 * bar + 2, middle + half), fill=fill)


def draw_words(
    draw: ImageDraw.ImageDraw, top: int, width: int, words: list[Word], now_s: float
) -> None:
    """The words said so far, each in its colour."""
    font = ImageFont.load_default(24)
    gap = 10
    x = (width - sum(font.getlength(word.word) for word in words) - gap * (len(words) - 1)) / 2
    for word in words:
        if word.start_s <= now_s:
            draw.text((x, top + 8), word.word, font=font, fill=colour(word.audio_weight))
        x += font.getlength(word.word) + gap


def draw_legend(draw: ImageDraw.ImageDraw, top: int, width: int) -> None:
    """What the colours mean."""
    font = ImageFont.load_default(13)
    labels = (("heard", 1.0), ("heard and seen", 0.5), ("lip-read", 0.0))
    x = (width - sum(font.getlength(label) + 34 for label, _ in labels)) / 2 + 9
    for label, weight in labels:
        draw.ellipse((x, top + 5, x + 10, top + 15), fill=colour(weight))
        draw.text((x + 16, top + 2), label, font=font, fill=WHITE)
        x += font.getlength(label) + 34


def draw_tag(draw: ImageDraw.ImageDraw, now_s: float) -> None:
    """What is missing at the moment."""
    missing = "no face" if now_s < COARSE_S else "no sound" if now_s >= MUTED_S else None
    if missing:
        font = ImageFont.load_default(14)
        draw.rectangle((8, 8, 20 + font.getlength(missing), 28), fill=BACKGROUND)
        draw.text((14, 10), missing, font=font, fill=WHITE)


def palette_of(photo: Image.Image) -> Image.Image:
    """The colours of the photograph, and those that are drawn over it."""
    colours = photo.quantize(PHOTO_COLOURS, dither=Image.Dither.NONE).getpalette() or []
    drawn = [BACKGROUND, GREY, WHITE, *(colour(step / 8) for step in range(9))]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours[: 3 * PHOTO_COLOURS] + [level for each in drawn for level in each])
    return palette


def main(target: Path) -> None:
    """Makes the clip, transcribes it, and draws both."""
    with tempfile.TemporaryDirectory() as scratch:
        clip = Path(scratch) / "clip.mp4"
        spoken = make_clip(clip, seed=SEED)
        pictures, sound = take_away(*read_clip(clip))
        write_video(clip, pictures, sound)
        transcript = avsr.transcribe(clip)
    if transcript.text != spoken:
        sys.exit(
            f"error: {transcript.text!r} was recognised, {spoken!r} was said: "
            "the picture would mislead"
        )
    words = [word for segment in transcript.segments for word in segment.words]
    for word in words:
        print(f"{word.start_s:5.2f} s  {word.audio_weight:.2f}  {word.word}")

    pictures = [picture[SHOWN] for picture in pictures]
    height, width = pictures[0].shape[:2]
    length_s = len(pictures) / FPS
    drawn = []
    for index in range(0, len(pictures), STEP):
        page = Image.new("RGB", (width, height + WAVE + CAPTION + LEGEND), BACKGROUND)
        page.paste(Image.fromarray(pictures[index]), (0, 0))
        draw = ImageDraw.Draw(page)
        now_s = index / FPS
        draw_wave(draw, height, width, sound, length_s, now_s)
        draw_words(draw, height + WAVE, width, words, now_s)
        draw_legend(draw, height + WAVE + CAPTION, width)
        draw_tag(draw, now_s)
        drawn.append(page)
    palette = palette_of(Image.fromarray(pictures[-1]))
    frames = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in drawn]
    durations = [1000 * STEP // FPS] * (len(frames) - 1) + [HOLD_MS]
    frames[0].save(
        target, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
