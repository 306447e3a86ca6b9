"""What a source is: a counted sequence of samples that can be read from any position."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.kinds import Config

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class SourceSample:
    """One sample before it is encoded.

    Attributes:
        id: stable over time, unique in the source, the key of its record.
        content: an array in the shape and dtype of the pipeline's format.
        label: None where it is not known.
        group: what must stay on one side of a held-out split, where that is not the id.
    """

    id: str
    content: np.ndarray[Any, Any]
    label: str | None = None
    group: str | None = None


class Source(Config):
    """Settings of a `[source]` table and the reading that they stand for."""

    kind: str

    @abstractmethod
    def count(self) -> int:
        """How many samples there are now."""

    @abstractmethod
    def read(self, start: int, count: int) -> list[SourceSample]:
        """Samples `start` to `start + count`; the same positions give the same samples at every call."""


def fingerprint(samples: Iterable[SourceSample]) -> str:
    """SHA-256 over ids, labels, groups and contents: it tells a source that changed under a batch."""
    digest = hashlib.sha256()
    for sample in samples:
        for text in (sample.id, sample.label, sample.group, str(sample.content.dtype), str(sample.content.shape)):
            part = b"-" if text is None else b"+" + text.encode()
            digest.update(len(part).to_bytes(8, "little") + part)
        digest.update(sample.content.tobytes())
    return digest.hexdigest()
