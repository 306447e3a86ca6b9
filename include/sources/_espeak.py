"""A speech program in which espeak-ng gives an utterance the same samples whatever it spoke before.

The library keeps state of its voice and of its random numbers between utterances, and no call resets all of it. So it
is loaded in a process of its own, which forks for each utterance: each is the first one of a fresh library. A crash
of the library ends only that process, and the library, which is GPLv3, is linked to nothing else.

Input: lines of `voice, rate, pitch, text`, separated by tabs. Output: for each line the number of bytes as a 32-bit
integer, then the 16-bit samples, both in native byte order. It imports the standard library only.
"""

import ctypes
import os
import struct
import sys

SYNCHRONOUS = 2
RATE, PITCH = 1, 3
POSITION_IN_CHARACTERS = 1
UTF8 = 1
SEED = 1

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def main(library_file: str, data_folder: str) -> None:
    """Speak standard input to standard output."""
    library = ctypes.CDLL(library_file)
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, data_folder.encode(), 0)
    if rate <= 0:
        sys.exit(f"espeak-ng finds no data in {data_folder}, whose path may have 150 characters at most")
    sys.stdout.buffer.write(struct.pack("=I", rate))
    for line in sys.stdin:
        readable, writable = os.pipe()
        if not (child := os.fork()):
            with open(writable, "wb") as output:  # noqa: PTH123 - it has no path
                output.write(_speak(library, *line.rstrip("\n").split("\t")))
            os._exit(0)
        os.close(writable)
        with open(readable, "rb") as pipe:  # noqa: PTH123
            samples = pipe.read()
        if os.waitpid(child, 0)[1] or not samples:
            sys.exit(f"espeak-ng does not speak {line.split(chr(9))}")
        sys.stdout.buffer.write(struct.pack("=I", len(samples)) + samples)


def _speak(library: ctypes.CDLL, voice: str, rate: str, pitch: str, text: str) -> bytes:
    samples: list[bytes] = []

    def take(wave: int | None, count: int, _events: int | None) -> int:
        if wave:
            samples.append(ctypes.string_at(wave, 2 * count))
        return 0

    callback = Callback(take)
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(SEED))
    spoken = text.encode()
    failed = (
        library.espeak_SetVoiceByName(voice.encode())
        or library.espeak_SetParameter(RATE, int(rate), 0)
        or library.espeak_SetParameter(PITCH, int(pitch), 0)
        or library.espeak_Synth(spoken, len(spoken) + 1, 0, POSITION_IN_CHARACTERS, 0, UTF8, None, None)
        or library.espeak_Synchronize()
    )
    return b"" if failed else b"".join(samples)


if __name__ == "__main__":
    main(*sys.argv[1:])
