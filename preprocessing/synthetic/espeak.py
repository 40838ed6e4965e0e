"""One sentence through the espeak-ng library, with word and phoneme times: a program of its own.

The library keeps traces of what it said before (random state, flutter), so only a fresh process
says the same sentence the same way twice; and its program prints no times. `voice.py` runs this
file as `python -I -S espeak.py VOICE TEXT PARAMETERS`; it needs the standard library only and
starts in about 20 ms.

Standard output: one line of JSON, {"rate": Hz, "events": [[type, seconds, text position, phoneme],
...]}, then the sound as 16 bit samples in native byte order. Without arguments: only says whether
the library is there. Exit status: 0 all well, 1 no library or no data for it, 2 no such voice.
"""

from __future__ import annotations

import ctypes
import json
import sys

_LIBRARIES = ("libespeak-ng.so.1", "libespeak-ng.1.dylib", "libespeak-ng.dylib", "libespeak-ng.dll")


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),  # 0 end of list, 1 word, 7 phoneme
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # counts characters from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("string", ctypes.c_char * 8),  # IPA
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


def _load() -> tuple[ctypes.CDLL, int] | None:
    """The library and its sampling rate in Hz."""
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        # 2: synchronous, sound by callback; options: phoneme events, in IPA, and never exit() on
        # trouble
        rate = library.espeak_Initialize(2, 0, None, 0x1 | 0x2 | 0x8000)
        if rate > 0:
            return library, rate
    return None


def main(arguments: list[str]) -> int:
    """Says `arguments`: voice, text, JSON object of espeak_PARAMETER number to value."""
    loaded = _load()
    if loaded is None:
        return 1
    if not arguments:
        return 0
    library, rate = loaded
    voice, text, parameters = arguments
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        return 2
    for parameter, value in json.loads(parameters).items():
        library.espeak_SetParameter(int(parameter), int(value), 0)
    sound = bytearray()
    events: list[tuple[int, float, int, str]] = []

    def receive(samples, count, event) -> int:
        if samples and count > 0:
            sound.extend(ctypes.string_at(samples, 2 * count))
        index = 0
        while event[index].type != 0:
            one = event[index]
            events.append(
                (
                    one.type,
                    one.audio_position / 1000,
                    one.text_position,
                    one.string.decode(errors="ignore"),
                )
            )
            index += 1
        return 0

    callback = _CALLBACK(receive)  # must live as long as the library may call it
    library.espeak_SetSynthCallback(callback)
    data = text.encode()
    library.espeak_Synth(
        data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, 1, None, None
    )  # by character, whole text, UTF-8
    library.espeak_Synchronize()
    sys.stdout.buffer.write(
        json.dumps({"rate": rate, "events": events}).encode() + b"\n" + bytes(sound)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
