"""Sound files that are decoded from the first frame on, without a seek."""

import soundfile  # noqa: TID253 - only functions import this module


class OnePassFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is only read forwards.

    SoundFile.read seeks to its own position after each read of a seekable file. An MP3 frame refers to bits of the
    frames before it, which mpg123 loses at a seek, so that the next frames would be silent or wrong.
    """

    def seekable(self) -> bool:
        return False
