"""Recordings of noise and rooms: listed at once, read when they are drawn, kept only where all of
them fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.random import Generator

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.preprocessing.media.ticks import MIN_SAMPLES
from avsr.training.data.augmentation.augment import fit

SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
KEPT_BYTES = 384_000_000  # of float32 samples: an hour and a half
READABLE = "name a folder of wav, flac, ogg, opus or mp3 recordings"


class Recordings:
    """The sound files of a folder, as 16 kHz mono.

    A folder of up to KEPT_BYTES is kept in memory. Of a larger one, of any size, only the stretch
    that is drawn is read. Copies for other processes begin without the samples.

    Raises:
        AvsrError: the folder holds none, one of them cannot be read, or one that is kept is silent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        files = sorted(path for path in self.folder.glob("*") if path.suffix.lower() in SUFFIXES)
        # a pipe would be waited for
        if odd := [path for path in files if path.exists() and not path.is_file()]:
            raise AvsrError(f"{odd[0]}: is no file; remove it")
        if not files:
            raise AvsrError(f"{folder}: no wav, flac, ogg, opus or mp3 files there; {READABLE}")
        self.names = [path.name for path in files]
        self.lengths = np.array([self._length(path) for path in files])
        self.fits = int(self.lengths.sum()) * 4 <= KEPT_BYTES
        self._kept: dict[int, np.ndarray] = {}
        if self.fits:
            for k in range(len(self)):
                self.whole(k)

    def __len__(self) -> int:
        return len(self.names)

    def whole(self, k: int) -> np.ndarray:
        """All of recording k, (N,) float32.

        Raises:
            AvsrError: it cannot be read, or is silent.
        """
        if k in self._kept:
            return self._kept[k]
        recording = self._read(k, 0, int(self.lengths[k]))
        if not recording.any():
            raise AvsrError(
                f"{self.folder / self.names[k]}: silent, of no use as noise or as a room; remove it"
            )
        if self.fits:
            self._kept[k] = recording
        return recording

    def stretch(self, k: int, samples: int, rng: Generator) -> np.ndarray:
        """A random stretch of recording k, (samples,) float32; repeated where it is too short.

        Raises:
            AvsrError: it cannot be read.
        """
        length = int(self.lengths[k])
        if self.fits or length <= samples:
            return fit(self.whole(k), samples, rng)
        return self._read(k, int(rng.integers(length - samples + 1)), samples)

    def _read(self, k: int, first: int, count: int) -> np.ndarray:
        """Samples at 16 kHz, from ``first`` on; zeros past what the file really holds."""
        path = self.folder / self.names[k]
        try:
            with soundfile.SoundFile(path) as file:
                begin = first * file.samplerate // SAMPLE_RATE
                file.seek(begin)
                wanted = -(-count * file.samplerate // SAMPLE_RATE)
                sound = file.read(wanted, dtype="float32", always_2d=True).mean(1)
                rate = file.samplerate
        except (OSError, RuntimeError) as error:  # RuntimeError: libsndfile's errors
            raise AvsrError(f"{path}: cannot be read ({error}); {READABLE}") from error
        if rate != SAMPLE_RATE:
            from scipy.signal import resample_poly

            divisor = np.gcd(rate, SAMPLE_RATE)
            sound = resample_poly(sound, SAMPLE_RATE // divisor, rate // divisor)
        out = np.zeros(count, np.float32)
        out[: len(sound)] = sound[:count]
        return out

    @staticmethod
    def _length(path: Path) -> int:
        """Samples at 16 kHz by the file's header, in whole frames as of any media file; silence
        fills the last."""
        try:
            about = soundfile.info(path)
        except (OSError, RuntimeError) as error:
            raise AvsrError(f"{path}: cannot be read ({error}); {READABLE}") from error
        samples = about.frames * SAMPLE_RATE // about.samplerate
        if samples < 1:
            raise AvsrError(f"{path}: empty, of no use as noise or as a room; remove it")
        frames, rest = divmod(samples, SAMPLES_PER_FRAME)
        return (frames + (rest >= MIN_SAMPLES)) * SAMPLES_PER_FRAME or samples

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}}


def read_recordings(folder: Path | None) -> Recordings | None:
    """The recordings of a folder; None where no folder is named.

    Raises:
        AvsrError: see Recordings.
    """
    return Recordings(folder) if folder else None
