"""Sound files that are decoded from their first frame on, without a seek."""

from __future__ import annotations

import soundfile  # noqa: TID253 - only functions import this module


class OnePassFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is only read forwards.

    SoundFile.read seeks to its own position after each read of a seekable file. An MP3 frame refers to bits of the
    frames before it, which mpg123 has lost after a seek: the frames that follow are silent or wrong. A file that says
    it isn't seekable is read without.
    """

    def seekable(self) -> bool:
        return False
