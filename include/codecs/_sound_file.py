"""Base of the sound file formats: libsndfile decodes a file after its structure was checked."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from include.codecs._audio import AudioCodec, Extent
from include.refusal import InvalidRecord

if TYPE_CHECKING:
    import numpy as np

    from include.codecs._one_pass import OnePassFile


# Numbers per read or write: libsndfile's Vorbis encoder overflows its stack at millions.
AT_ONCE = 65_536


class DamagedFile(ValueError):
    """The file is incomplete or damaged; the text names the place, without a full stop."""


class Part(NamedTuple):
    """A file, or one of several streams in it, with a correct header for libsndfile.

    Attributes:
        frames: their number; None where libsndfile's own count is exact.
    """

    content: bytes
    frames: int | None = None


class SoundFileCodec(AudioCodec):
    """Files that libsndfile reads, in the task's own process.

    libsndfile is C code and the bytes may be malicious. So it gets only files with the structure of the pipeline's one
    format and a common encoding of it, and has to detect the same format and encoding. Its dozens of other parsers and
    decoders see no byte.
    """

    # libsndfile's names: of the format that is written, of the formats that are read, and of their encodings.
    sndfile_format: ClassVar[str]
    formats: ClassVar[frozenset[str]]
    encodings: ClassVar[frozenset[str]]
    written_as: ClassVar[str]

    @abstractmethod
    def parts(self, value: bytes) -> Sequence[Part]:
        """Check the file's structure from its first byte to its end, and return its streams, in order.

        A missing or wrong length in the file's header is corrected by what follows the header.

        Raises:
            DamagedFile: it is cut short, a checksum is wrong, or it is another kind of file.
            InvalidRecord: it claims a rate, channels or frames outside the limits.
        """

    def load_decoder(self) -> None:
        import include.codecs._one_pass  # noqa: F401

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
                f"({_message(error)}): choose another sample_rate or format."
            ) from error
        return buffer.getvalue()

    def read(self, value: bytes) -> tuple[np.ndarray[Any, Any], int]:
        with self._opened(value) as (parts, first):
            return self._frames(parts, first), first.samplerate

    def extent(self, value: bytes) -> Extent:
        with self._opened(value) as (parts, first):
            return Extent(first.samplerate, sum(self._counts(parts, first)))

    @contextmanager
    def _opened(self, value: bytes) -> Iterator[tuple[Sequence[Part], OnePassFile]]:
        """The file's streams, and the first one open.

        Raises:
            InvalidRecord: the file cannot be decoded.
        """
        import soundfile

        try:
            parts = self.parts(value)
            with self._open(parts[0]) as first:
                yield parts, first
        except soundfile.LibsndfileError as error:
            raise self._undecodable(value, _message(error)) from error
        except (DamagedFile, soundfile.SoundFileError, RuntimeError) as error:
            raise self._undecodable(value, error) from error

    def _open(self, part: Part) -> OnePassFile:
        from include.codecs._one_pass import OnePassFile

        file = OnePassFile(io.BytesIO(part.content))
        if file.format not in self.formats or file.subtype not in self.encodings:
            file.close()
            raise DamagedFile(f"it holds {file.format} with {file.subtype}")
        return file

    def _counts(self, parts: Sequence[Part], first: OnePassFile) -> list[int]:
        """The number of frames of each stream.

        Raises:
            DamagedFile: their rates or numbers of channels differ.
        """
        counts = [_count(parts[0], first)]
        for part in parts[1:]:
            with self._open(part) as file:
                if (file.samplerate, file.channels) != (first.samplerate, first.channels):
                    raise DamagedFile(
                        f"it begins with {first.channels} channels of {first.samplerate} Hz and goes on with "
                        f"{file.channels} of {file.samplerate} Hz"
                    )
                counts.append(_count(part, file))
        return counts

    def _frames(self, parts: Sequence[Part], first: OnePassFile) -> np.ndarray[Any, Any]:
        """float32 (frames, channels) of the window.

        Raises:
            DamagedFile: there are fewer than the file claims.
            InvalidRecord: see `window`.
        """
        import numpy as np

        counts = self._counts(parts, first)
        window = self.window(first.samplerate, first.channels, sum(counts))
        frames = np.empty((window.frames, first.channels), np.float32)
        before, filled = window.start, 0
        for part, count in zip(parts, counts, strict=True):
            if before >= count:
                before -= count
                continue
            if filled == window.frames:
                break
            wanted = min(count - before, window.frames - filled)
            with nullcontext(first) if part is parts[0] else self._open(part) as file:
                found = _read_into(frames[filled : filled + wanted], file, before)
            if found < before + wanted:
                raise DamagedFile(f"frame {found} of {count} can't be decoded")
            before, filled = 0, filled + wanted
        return frames

    def _undecodable(self, value: bytes, damage: object) -> InvalidRecord:
        return InvalidRecord("undecodable", f"{len(value)} bytes are not a whole {self.sndfile_format} file: {damage}.")


def after_id3(value: bytes, start: int = 0) -> int:
    """Where the ID3v2 tags that begin at `start` end; each byte of a tag's size has seven bits."""
    while value.startswith(b"ID3", start):
        size = 0
        for byte in value[start + 6 : start + 10]:
            size = size << 7 | byte & 0x7F
        has_footer = bool(value[start + 5 : start + 6]) and value[start + 5] & 0x10
        start += 10 + size + (10 if has_footer else 0)
    return start


def _count(part: Part, file: OnePassFile) -> int:
    if part.frames is None:
        return int(file.frames)
    if file.frames < part.frames:
        raise DamagedFile(f"{part.frames} frames follow its header and {file.frames} can be decoded")
    return part.frames


def _read_into(frames: np.ndarray[Any, Any], file: OnePassFile, before: int) -> int:
    """Fill `frames` after skipping the first `before`; return the number of decoded frames, with the skipped ones."""
    skipped = _skip(file, before) if before else 0
    if skipped < before:
        return skipped
    # Some libsndfile decoders return fewer frames than requested before the end.
    filled = 0
    while filled < len(frames) and (found := len(file.read(out=frames[filled:]))):
        filled += found
    return skipped + filled


def _skip(file: OnePassFile, frames: int) -> int:
    """Decode frames in blocks and discard them; return their number."""
    import numpy as np

    block = np.empty((min(frames, AT_ONCE // file.channels), file.channels), np.float32)
    skipped = 0
    while skipped < frames and (found := len(file.read(out=block[: frames - skipped]))):
        skipped += found
    return skipped


def _message(error: Any) -> str:
    """libsndfile's own text without its full stop; soundfile's would name an address in memory."""
    text: str = error.error_string
    return text.removeprefix("Error : ").rstrip(" .")
