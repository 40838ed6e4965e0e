"""Decoded clips in memory that all processes of a run on one machine share: loader workers and
ranks."""

from __future__ import annotations

import mmap
import os
import secrets
import socket
import tempfile
import warnings
import zlib
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen
from typing import Any

import numpy as np
import torch

from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME

FRAME_BYTES = CROP_SIZE**2 + 4 * SAMPLES_PER_FRAME + 2  # lips, sound, two masks
WORD_BYTES = 16  # its start and end
TOKEN_BYTES = 8  # by which a memory is known
EMPTY, WITHOUT_TIMES, WITH_TIMES = range(3)  # states of a clip
ALIGN = 64
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]


class ClipCache:
    """The arrays of clips, each put there by whichever process needs it first.

    The memory is a file without a name, so nothing is left behind whatever ends the run. Forked
    workers inherit it, spawned ones are handed its descriptor, other ranks of the machine open it
    (``share``). A copy that is pickled for anything else begins empty.

    Args:
        frames: of each clip.
        words: of each clip.
    """

    _descriptor = -1  # until there is a memory

    def __init__(self, frames: Sequence[int], words: Sequence[int]) -> None:
        self._frames, self._words = np.array(frames, np.int64), np.array(words, np.int64)
        self._begin()

    def get(self, i: int) -> Arrays | None:
        """Lips (T, 96, 96) uint8, audio (N,) float32, audio_present and video_present (T,) bool,
        times of the words (words, 2) float64 or None; None for a clip that nobody has put there."""
        state = self._state[i]
        return None if state == EMPTY else self._views(i, timed=bool(state == WITH_TIMES))

    def put(self, i: int, arrays: Arrays) -> None:
        """Keeps a clip. Two processes may do so at a time: both write the same."""
        timed = arrays[-1] is not None
        for kept, given in zip(self._views(i, timed), arrays, strict=True):
            if kept is not None:
                kept[:] = given
        self._state[i] = WITH_TIMES if timed else WITHOUT_TIMES  # last: from now on it is read

    def share(self, fabric: Any) -> None:
        """Lets the ranks of one machine use one memory, that of the first of them. All ranks must
        call it.

        Where it cannot be opened, as from another container, a rank keeps its own.
        """
        machine = zlib.crc32(socket.gethostname().encode())
        mine = torch.tensor([machine, os.getpid(), self._descriptor, int(self._token[0])])
        # Lightning's gathering is written for an older torch
        with warnings.catch_warnings(action="ignore"):
            ranks = fabric.all_gather(mine).reshape(-1, 4)
        _, process, descriptor, token = ranks[ranks[:, 0] == machine][0].tolist()
        if token != self._token[0]:
            with suppress(OSError):
                self._join(os.open(f"/proc/{process}/fd/{descriptor}", os.O_RDWR), token)
        fabric.barrier()  # until then the first one's is open

    def __del__(self) -> None:
        # an open descriptor would keep the memory for as long as the process lives
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _join(self, descriptor: int, token: int) -> None:
        """Uses another process's memory, if the descriptor is it."""
        own = self._descriptor
        if os.fstat(descriptor).st_size == self.size:
            self._open(descriptor)
            if self._token[0] == token:
                descriptor = own
            else:
                self._open(own)
        os.close(descriptor)

    def _begin(self) -> None:
        """A new memory, all of it zero and none of it taken yet."""
        descriptor = _nameless_file()
        os.ftruncate(descriptor, self.size)
        self._open(descriptor)
        self._token[0] = secrets.randbits(62)

    def _open(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, self.size)
        self._places = self._layout()
        self._token = np.ndarray((1,), np.int64, self._memory)
        self._state = np.ndarray((len(self._frames),), np.uint8, self._memory, TOKEN_BYTES)

    def _layout(self) -> np.ndarray:
        """(clips + 1,) first byte of each clip, behind the token and a byte of state for each; and
        the end."""
        clips = self._frames * FRAME_BYTES + self._words * WORD_BYTES
        blocks = np.concatenate([[TOKEN_BYTES + len(clips)], clips])
        return np.cumsum(-(-blocks // ALIGN) * ALIGN)

    @property
    def size(self) -> int:
        """Bytes, when every clip is there."""
        return int(self._layout()[-1])

    def _views(self, i: int, timed: bool) -> Arrays:
        frames, place = int(self._frames[i]), int(self._places[i])

        def view(shape: tuple[int, ...], kind: type) -> np.ndarray:
            nonlocal place
            array: np.ndarray = np.ndarray(shape, kind, self._memory, place)
            place += array.nbytes
            return array

        # what has the largest numbers comes first: alignment
        times = view((int(self._words[i]), 2), np.float64)
        audio = view((frames * SAMPLES_PER_FRAME,), np.float32)
        lips = view((frames, CROP_SIZE, CROP_SIZE), np.uint8)
        present = view((2, frames), np.bool_)
        return lips, audio, present[0], present[1], times if timed else None

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {"frames": self._frames, "words": self._words, "descriptor": None}
        # for a child of this process
        if get_spawning_popen() is not None and hasattr(reduction, "DupFd"):
            state["descriptor"] = reduction.DupFd(self._descriptor)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._frames, self._words = state["frames"], state["words"]
        if state["descriptor"] is None:
            self._begin()
        else:
            self._open(state["descriptor"].detach())


def _nameless_file() -> int:
    """Descriptor of a file that is gone when nobody has it open; in memory where the system can do
    that."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("avsr-clips")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
