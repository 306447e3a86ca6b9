"""Sounds as FLAC (RFC 9639)."""

from __future__ import annotations

from typing import ClassVar, Literal

from include.codecs._sound_file import DamagedFile, SoundFileCodec


class FlacCodec(SoundFileCodec):
    """Every frame has a checksum, which libFLAC compares as far as it decodes."""

    kind: Literal["audio.flac"] = "audio.flac"
    sndfile_format: ClassVar[str] = "FLAC"
    formats: ClassVar[frozenset[str]] = frozenset({"FLAC"})
    encodings: ClassVar[frozenset[str]] = frozenset({"PCM_S8", "PCM_16", "PCM_24"})
    written_as: ClassVar[str] = "PCM_16"

    def look_into(self, value: bytes) -> None:
        if not value.startswith(b"fLaC"):
            raise DamagedFile("it does not begin as one")
