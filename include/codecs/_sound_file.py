"""Sounds as files of the usual formats, each decoded by libsndfile once its structure was followed here."""

from __future__ import annotations

import io
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from include.codecs._audio import AudioCodec
from include.refusal import InvalidRecord

if TYPE_CHECKING:
    import numpy as np

# Numbers that are read or written at once; libsndfile's Vorbis encoder overflows its stack over millions.
AT_ONCE = 65_536


class DamagedFile(ValueError):
    """The file is not whole; the text says where, without a full stop."""


class SoundFileCodec(AudioCodec):
    """Files that libsndfile reads, in the task's own process.

    Since it is C code that hostile bytes reach, it is given only what follows the structure of the one format that the
    pipeline names, with one of that format's common encodings, and what it finds has to be the same; none of the dozens
    of other parsers and decoders that it has sees any byte.
    """

    # libsndfile's names: of the format that is written, of those that are read, and of their encodings.
    sndfile_format: ClassVar[str]
    formats: ClassVar[frozenset[str]]
    encodings: ClassVar[frozenset[str]]
    written_as: ClassVar[str]

    @abstractmethod
    def look_into(self, value: bytes) -> None:
        """Follow the file's structure from its first byte to its end.

        Raises:
            Damaged: it is cut short, breaks its checksums, or is another kind of file.
        """

    def load_decoder(self) -> None:
        import soundfile  # noqa: F401

        super().load_decoder()

    def write(self, wave: np.ndarray[Any, Any]) -> bytes:
        import soundfile

        buffer = io.BytesIO()
        settings = {"format": self.sndfile_format, "subtype": self.written_as}
        try:
            with soundfile.SoundFile(buffer, "w", self.sample_rate, 1, **settings) as file:
                for start in range(0, len(wave), AT_ONCE):
                    file.write(wave[start : start + AT_ONCE])
        except soundfile.LibsndfileError as error:
            raise ValueError(
                f"A {self.sndfile_format} file of {self.sample_rate} samples a second can't be written "
                f"({_told(error)}): choose another sample_rate or format."
            ) from error
        return buffer.getvalue()

    def read(self, value: bytes) -> tuple[np.ndarray[Any, Any], int]:
        import soundfile

        try:
            self.look_into(value)
            with soundfile.SoundFile(io.BytesIO(value)) as file:
                return self._frames(file), file.samplerate
        except soundfile.LibsndfileError as error:
            raise self._undecodable(value, _told(error)) from error
        except (DamagedFile, soundfile.SoundFileError, RuntimeError) as error:
            raise self._undecodable(value, error) from error

    def duration(self, value: bytes) -> float:
        import soundfile

        with soundfile.SoundFile(io.BytesIO(value)) as file:
            return float(file.frames / file.samplerate)

    def _frames(self, file: Any) -> np.ndarray[Any, Any]:
        """float32 (frames, channels) of an open file's window.

        Raises:
            Damaged: there are fewer than it says.
            InvalidRecord: see `window`.
        """
        if file.format not in self.formats or file.subtype not in self.encodings:
            raise DamagedFile(f"it holds {file.format} with {file.subtype}")
        window = self.window(file.samplerate, file.channels, file.frames)
        _pass_over(file, window.start)
        frames: np.ndarray[Any, Any] = file.read(window.frames, dtype="float32", always_2d=True)
        if len(frames) < window.frames:
            raise DamagedFile(f"frame {window.start + len(frames)} of {file.frames} can't be decoded")
        return frames

    def _undecodable(self, value: bytes, damage: object) -> InvalidRecord:
        return InvalidRecord("undecodable", f"{len(value)} bytes are not a whole {self.sndfile_format} file: {damage}.")


def _pass_over(file: Any, frames: int) -> None:
    """Decode and forget, since a damaged file may be sought in without an end."""
    at_once = AT_ONCE // file.channels
    while frames > 0:
        found = len(file.read(min(frames, at_once), dtype="float32", always_2d=True))
        if not found:
            raise DamagedFile(f"{frames} frames before its middle can't be decoded")
        frames -= found


def _told(error: Any) -> str:
    """libsndfile's own words, which end with a full stop and name this process's memory in soundfile's."""
    text: str = error.error_string
    return text.removeprefix("Error : ").rstrip(" .")
