"""Ten digits spoken by many synthetic voices of espeak-ng, which the wheel espeakng-loader ships."""

import io
import struct
import subprocess
import sys
import wave
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from include.sources.base import Source, SourceChanged, SourceRefused, SourceSample, another_source, fingerprint

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# espeak-ng's variants differ in formants, voice source and register, but many are near copies of another. For the ten
# words, the log-mel spectrograms of each of these are at least 4.8 dB from those of every other (root mean square,
# American English, one rate and pitch).
NAMES = (
    "m1 m2 m3 m4 m5 m7 m8 f1 f2 f3 f4 Alicia Andrea Andy Annie Denis Gene Jacky Lee Marco Michael Reed Storm anika "
    "announcer antonio belinda boris caleb david ed edward grandma ian iven kaukovalta klatt marcelo michel norbert "
    "pablo paul pedro quincy rob sandro shelby steph travis zac"
)
VOICES = tuple(NAMES.split())
ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
RATES = (120, 140, 160, 180, 200)
PITCHES = (30, 40, 50, 60, 70)

# The step between consecutive samples in the order of voice, accent, rate, pitch and digit. It is coprime to their
# number and near its golden section, so any few hundred in a row have all values about equally often.
STRIDE = 54_077
AT_ONCE = 500
PATIENCE_S = 120

PROGRAM = Path(__file__).with_name("_espeak.py")


class Utterance(NamedTuple):
    """One sample before it is spoken; `rate` in words a minute, `pitch` from 0 to 99."""

    digit: int
    accent: str
    voice: str
    rate: int
    pitch: int

    @property
    def id(self) -> str:
        return f"{self.digit}/{self.accent}+{self.voice}/{self.rate}/{self.pitch}"


class SpokenDigitsSource(Source):
    """WAV files of 0.2 to 1.2 seconds, mono, 16 bits at 22,050 Hz, labelled `0` to `9`.

    `group` is the voice, with any accent, rate and pitch: those do not change its formants, so a model that has heard
    the voice knows it.

    An utterance has the same bytes for the same version of espeak-ng and the same processor architecture: the first
    one identifies those before a position, since another synthesiser speaks all in another way.
    """

    kind: Literal["spoken_digits"] = "spoken_digits"

    def count(self) -> int:
        return len(VOICES) * len(ACCENTS) * len(RATES) * len(PITCHES) * len(WORDS)

    def read(self, start: int, count: int) -> list[SourceSample]:
        end = min(start + min(count, AT_ONCE), self.count())
        utterances = [self.utterance(position) for position in range(start, end)]
        return [
            SourceSample(id=utterance.id, content=sound, label=str(utterance.digit), group=utterance.voice)
            for utterance, sound in zip(utterances, speak(utterances), strict=True)
        ]

    def prefix(self, position: int) -> dict[str, Any]:  # noqa: ARG002 - see the class
        return {"first": fingerprint(self.read(0, 1)), "version": version("espeakng-loader")}

    def check_prefix(self, position: int, prefix: dict[str, Any]) -> None:
        # Batches of earlier versions of Millrace have none.
        if not position or not prefix:
            return
        if "first" not in prefix:
            raise SourceChanged(another_source(position))
        found = self.prefix(position)
        if found["first"] != prefix["first"]:
            raise SourceChanged(
                f"The first {position} utterances were spoken by espeakng-loader {prefix['version']}, and its version "
                f"{found['version']} speaks in another way: install that one, on the same processor architecture, or "
                "give the pipeline's file a new name, which begins again."
            )

    def utterance(self, position: int) -> Utterance:
        rest, digit = divmod(position * STRIDE % self.count(), len(WORDS))
        rest, pitch = divmod(rest, len(PITCHES))
        rest, rate = divmod(rest, len(RATES))
        voice, accent = divmod(rest, len(ACCENTS))
        return Utterance(digit, ACCENTS[accent], VOICES[voice], RATES[rate], PITCHES[pitch])


def speak(utterances: Sequence[Utterance]) -> list[bytes]:
    """Each as a WAV file.

    Raises:
        SourceRefused: espeak-ng does not run here.
    """
    import espeakng_loader

    if not utterances:
        return []
    lines = "".join(
        f"{said.accent}+{said.voice}\t{said.rate}\t{said.pitch}\t{WORDS[said.digit]}\n" for said in utterances
    )
    command = [sys.executable, "-I", str(PROGRAM), espeakng_loader.get_library_path(), espeakng_loader.get_data_path()]
    try:
        done = subprocess.run(command, input=lines.encode(), capture_output=True, check=True, timeout=PATIENCE_S)
    except (OSError, subprocess.SubprocessError) as error:
        output = (getattr(error, "stderr", None) or str(error).encode()).decode(errors="replace").strip().splitlines()
        raise SourceRefused(
            f"The speech synthesiser espeak-ng failed ({output[-1] if output else error}): run `make install`, or "
            "choose another [source]."
        ) from error
    return _wav_files(done.stdout)


def _wav_files(output: bytes) -> list[bytes]:
    """The program's output as files."""
    (rate,) = struct.unpack_from("=I", output)
    place = 4
    files: list[bytes] = []
    while place < len(output):
        (size,) = struct.unpack_from("=I", output, place)
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(output[place + 4 : place + 4 + size])
        files.append(buffer.getvalue())
        place += 4 + size
    return files
