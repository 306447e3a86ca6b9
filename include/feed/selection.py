"""What the feed needs of the records of one side of a split: a row for each, and the samples' values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, cast

from include.codecs.base import Codec
from include.refusal import Refusal
from include.targets.base import Target

if TYPE_CHECKING:
    import numpy as np


class RecordOutcome(IntEnum):
    """What became of a record. The first two take a place in a batch, though an undecodable one leaves it empty."""

    SAMPLE = 0
    UNDECODABLE = 1
    REFUSED = 2
    UNLABELLED = 3
    SUPERSEDED = 4
    DELETION = 5


def row_type(target: Target) -> np.dtype[Any]:
    """The row of a record.

    Its label as a target, the block and offset where it was read, the CRC-32 of its group, and its `RecordOutcome`.
    """
    import numpy as np

    numbers = [(name, "i8") for name in ("block", "offset", "group", "outcome")]
    return np.dtype([("label", target.dtype, target.shape), *numbers])


@dataclass(frozen=True)
class Selection:
    """The records of a side in the offsets from `start` to `end` of a block, in their order.

    Attributes:
        rows: structured array of `row_type`.
        values: of the rows that take a place in a batch: encoded, or an array of decoded samples, in which the place of
            an undecodable one has zeros.
        refusals: by offset, why records are refused or undecodable.
    """

    start: int
    end: int
    rows: np.ndarray[Any, Any]
    values: Sequence[bytes | None] | np.ndarray[Any, Any]
    refusals: dict[int, Refusal] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """The memory of rows and values."""
        import numpy as np

        values = self.values
        return self.rows.nbytes + (
            values.nbytes if isinstance(values, np.ndarray) else sum(map(len, filter(None, values)))
        )

    def since(self, offset: int) -> Selection:
        """Its records from an offset on."""
        if offset <= self.start:
            return self
        later = self.rows["offset"] >= offset
        passed = int((~later & (self.rows["outcome"] <= RecordOutcome.UNDECODABLE)).sum())
        return Selection(offset, self.end, self.rows[later], self.values[passed:], self.refusals)

    def decoded(self, codec: Codec) -> Selection:
        """The same with its values decoded."""
        import numpy as np

        decoded = codec.decode(cast("Sequence[bytes | None]", self.values))
        if not decoded.refusals:
            return Selection(self.start, self.end, self.rows, decoded.samples, self.refusals)
        samples = np.zeros((len(self.values), *codec.sample_shape), decoded.samples.dtype)
        samples[decoded.positions] = decoded.samples
        rows, places = self.rows.copy(), np.flatnonzero(self.rows["outcome"] == RecordOutcome.SAMPLE)
        rows["outcome"][places[list(decoded.refusals)]] = RecordOutcome.UNDECODABLE
        offsets = {position: int(rows["offset"][places[position]]) for position in decoded.refusals}
        found = {offsets[position]: refusal for position, refusal in decoded.refusals.items()}
        return Selection(self.start, self.end, rows, samples, self.refusals | found)
