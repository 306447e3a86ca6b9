"""What a source is: a counted sequence of samples that can be read from any position."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from include.errors import MillraceError, PermanentError
from include.kinds import Config

if TYPE_CHECKING:
    import numpy as np

# No topic takes larger records.
MAX_SAMPLE_BYTES = 64 * 2**20
# What one call of `read` gives at most, unless its first sample alone is larger.
READ_BYTES = 32 * 2**20


class SourceRefused(PermanentError):
    """The source can't be used as it stands: it is missing, empty, or not what its table says."""


class SourceChanged(PermanentError):
    """The source no longer gives what it gave before."""


class SourceUnreachable(MillraceError):
    """The source's storage did not answer; it may at the next attempt."""


@dataclass(frozen=True)
class SourceSample:
    """One sample before it is encoded.

    Attributes:
        id: stable over time, unique in the source, the key of its record.
        content: an array in the shape and dtype of the pipeline's format, or bytes that should be in that format
            already and are sent as they are.
        label: None where it is not known.
        group: what must stay on one side of a held-out split, where that is not the id.
        fault: why there is no content, in one sentence: the sample is left out and told.
    """

    id: str
    content: np.ndarray[Any, Any] | bytes
    label: str | None = None
    group: str | None = None
    fault: str | None = None


class Source(Config):
    """Settings of a `[source]` table and the reading that they stand for.

    Positions are for ever: a source may grow at its end and nowhere else. One whose order somebody else can change
    tells so by `prefix` and `check_prefix`, or samples would be sent twice and others never; one that has no positions
    of its own keeps in `prefix` what it goes on from, see `resume` and `again`.

    Raises, from any method:
        SourceRefused: it can't be used as it stands.
        SourceChanged: it is not what it was.
        SourceUnreachable: its storage did not answer.
    """

    kind: str

    def open(self) -> Self:
        """The source as it stands now, for one attempt: what is costly to find out, it finds out once at most."""
        return self

    @abstractmethod
    def count(self) -> int:
        """How many samples there are now."""

    @abstractmethod
    def read(self, start: int, count: int) -> list[SourceSample]:
        """Samples from `start` on, at most `count`; the same positions give the same samples at every call.

        Fewer where they are large, see `READ_BYTES`; none only beyond the end.
        """

    def resume(self, position: int, prefix: dict[str, Any], most: int) -> Self:  # noqa: ARG002 - kinds use it
        """What a new batch of at most `most` samples from `position` on is taken from.

        Args:
            prefix: what `prefix` told of `position` when the samples before it were planned.

        Raises:
            SourceChanged: the samples before `position` are others.
        """
        self.check_prefix(position, prefix)
        return self

    def again(self, start: int, count: int, prefix: dict[str, Any]) -> Self:
        """What a batch that was planned before is taken from; `prefix` is what was told of its end.

        Raises:
            SourceChanged: the samples before its end are others.
        """
        self.check_prefix(start + count, prefix)
        return self

    def prefix(self, position: int) -> dict[str, Any]:  # noqa: ARG002 - kinds use it
        """What the samples before `position` are, small enough for the ledger; empty where they can't change."""
        return {}

    def check_prefix(self, position: int, prefix: dict[str, Any]) -> None:
        """Compare the samples before `position` with what `prefix` said of them, at whatever time.

        Raises:
            SourceChanged: they are others.
        """
        if prefix:
            raise SourceChanged(another_source(position))


def another_source(position: int) -> str:
    """Why a source can't go on where one of another kind ended."""
    return (
        f"The first {position} samples came from a source of another kind: restore the [source] table, or give the "
        "pipeline's file a new name."
    )


def fingerprint(samples: Iterable[SourceSample]) -> str:
    """SHA-256 over ids, labels, groups and contents: it tells a source that changed under a batch."""
    digest = hashlib.sha256()
    for sample in samples:
        content = sample.content
        form = (None, str(len(content))) if isinstance(content, bytes) else (str(content.dtype), str(content.shape))
        for text in (sample.id, sample.label, sample.group, *form):
            part = b"-" if text is None else b"+" + text.encode()
            digest.update(len(part).to_bytes(8, "little") + part)
        digest.update(content if isinstance(content, bytes) else content.tobytes())
    return digest.hexdigest()
