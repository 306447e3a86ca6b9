"""The split of samples into those to train on and those held out."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from include.given_split import GivenSide

if TYPE_CHECKING:
    import numpy as np

HELD_OUT_SIDES = frozenset({"val", "test"})


def group_crcs(groups: Sequence[bytes]) -> np.ndarray[Any, Any]:
    """The CRC-32 of each group, uint64 of shape (n,), by one C call for each."""
    import numpy as np

    return np.fromiter(map(zlib.crc32, groups), np.uint64, len(groups))


@dataclass(frozen=True)
class Split:
    """Which samples are held out, by a salted hash of their group: all samples of a group are always on one side.

    Args:
        salt: constant for a pipeline; models are compared only under the same salt and share.
        held_out: share of groups that are never trained on, between 0 and 1.
        given: each record's header `split` says its side instead: val and test are held out.
    """

    salt: str
    held_out: float
    # Left out of the JSON where it is not set, so that manifests from before it existed keep their digests.
    given: Annotated[bool, Field(exclude_if=lambda given: not given)] = False

    def sides(self, crcs: np.ndarray[Any, Any], splits: Sequence[GivenSide | None]) -> np.ndarray[Any, Any]:
        """Booleans of shape (n,): which of n samples are held out.

        Args:
            crcs: of their groups, see `group_crcs`.
            splits: their sides of the given split; unused where there is none.
        """
        import numpy as np

        if not self.given:
            return self.is_hash_held_out(crcs)
        return np.array([side in HELD_OUT_SIDES for side in splits], bool)

    def is_hash_held_out(self, crcs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Booleans of shape (n,) for the CRC-32 of n groups.

        Salt and finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) over the whole array: the CRCs of sequential
        ids alone are regularly spaced.
        """
        import numpy as np

        salt = np.uint64(int.from_bytes(hashlib.sha256(self.salt.encode()).digest()[:8], "little"))
        mixed = crcs.astype(np.uint64) ^ salt
        with np.errstate(over="ignore"):
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        held_out: np.ndarray[Any, Any] = (mixed >> np.uint64(11)) < np.uint64(int(self.held_out * 2**53))
        return held_out
