"""The interface of a source: a counted sequence of samples that can be read from any position."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from include.errors import MillraceError, PermanentError
from include.given_split import GivenSide
from include.kinds import Config

if TYPE_CHECKING:
    import numpy as np

# The largest record of any topic.
MAX_SAMPLE_BYTES = 64 * 2**20
# The most bytes that one `read` returns, unless its first sample alone is larger.
READ_BYTES = 32 * 2**20


class SourceRefused(PermanentError):
    """The source can't be used: it is missing, empty, or not what its table says."""


class SourceChanged(PermanentError):
    """The source no longer has the samples that were sent."""


class SourceUnreachable(MillraceError):
    """The source's storage did not answer; a retry may help."""


@dataclass(frozen=True)
class SourceSample:
    """One sample before it is encoded.

    Attributes:
        id: stable over time, unique in the source, the key of its record.
        content: an array in the shape and dtype of the pipeline's format, or bytes in that format, which are sent
            unchanged.
        label: None if it is unknown.
        group: samples of a group stay on one side of a held-out split; None for the id.
        fault: why there is no content, in one sentence; such a sample is left out and logged.
        split: its side of a split that comes with the data; None where there is none.
    """

    id: str
    content: np.ndarray[Any, Any] | bytes
    label: str | None = None
    group: str | None = None
    fault: str | None = None
    split: GivenSide | None = None


class Source(Config):
    """Settings of a `[source]` table, and the source that they describe.

    Positions are permanent: a source may grow at its end only. A source whose order others can change detects that by
    `prefix` and `check_prefix`, or samples would be sent twice and others never. A source without positions of its own
    keeps in `prefix` where it continues from, see `resume` and `again`.

    Raises, from any method:
        SourceRefused: it can't be used.
        SourceChanged: samples that were sent are not there any more.
        SourceUnreachable: its storage did not answer.
    """

    kind: str

    def open(self) -> Self:
        """The source for one attempt, which computes what is costly at most once."""
        return self

    @abstractmethod
    def count(self) -> int:
        """The number of samples now."""

    @abstractmethod
    def read(self, start: int, count: int) -> list[SourceSample]:
        """Samples from `start` on, at most `count`; the same positions give the same samples at every call.

        Fewer if they are large, see `READ_BYTES`; none only beyond the end.
        """

    def uncounted(self) -> str:
        """What the source has and does not count yet, in one sentence; empty where it counts everything."""
        return ""

    def resume(self, position: int, prefix: dict[str, Any], most: int) -> Self:  # noqa: ARG002 - kinds use it
        """The source for a new batch of at most `most` samples from `position` on.

        Args:
            prefix: `prefix(position)` when the samples before it were planned.

        Raises:
            SourceChanged: the samples before `position` are not the same.
        """
        self.check_prefix(position, prefix)
        return self

    def again(self, start: int, count: int, prefix: dict[str, Any]) -> Self:
        """The source for a batch that was planned before; `prefix` is that of its end.

        Raises:
            SourceChanged: the samples before its end are not the same.
        """
        self.check_prefix(start + count, prefix)
        return self

    def prefix(self, position: int) -> dict[str, Any]:  # noqa: ARG002 - kinds use it
        """Identifies the samples before `position`, small enough for the ledger; empty if they can't change."""
        return {}

    def check_prefix(self, position: int, prefix: dict[str, Any]) -> None:
        """Compare the samples before `position` with an earlier `prefix`.

        Raises:
            SourceChanged: they are not the same.
        """
        if prefix:
            raise SourceChanged(another_source(position))


def take(samples: Iterator[SourceSample], count: int) -> list[SourceSample]:
    """The next samples: at most `count`, and as many as `READ_BYTES` hold, but one at least; none at the end."""
    taken: list[SourceSample] = []
    size = 0
    while len(taken) < count and size < READ_BYTES and (sample := next(samples, None)) is not None:
        taken.append(sample)
        size += len(sample.content) if isinstance(sample.content, bytes) else sample.content.nbytes
    return taken


def another_source(position: int) -> str:
    """The message for a position that a source of another kind reached."""
    return (
        f"The first {position} samples came from a source of another kind: restore the [source] table, or give the "
        "pipeline's file a new name."
    )


def fingerprint(samples: Iterable[SourceSample]) -> str:
    """SHA-256 over ids, labels, groups and contents, which shows that a batch's source has changed."""
    digest = hashlib.sha256()
    for sample in samples:
        content = sample.content
        form = (None, str(len(content))) if isinstance(content, bytes) else (str(content.dtype), str(content.shape))
        # Without a split the digest is that of before there were any.
        split = () if sample.split is None else (sample.split,)
        for text in (sample.id, sample.label, sample.group, *form, *split):
            part = b"-" if text is None else b"+" + text.encode()
            digest.update(len(part).to_bytes(8, "little") + part)
        digest.update(content if isinstance(content, bytes) else content.tobytes())
    return digest.hexdigest()
