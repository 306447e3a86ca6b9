"""The ranges of one run, divided among several tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.kafka.ranges import OffsetRange


def part_of(ranges: Sequence[OffsetRange], part: int, parts: int) -> list[OffsetRange]:
    """The ranges of one of `parts` tasks, `part` from 0; each has about as many offsets, or none.

    It does not matter which task takes which partition: each partition has its own producer, position and fence, so the
    next attempt may divide the work in another way.
    """
    shares: list[list[OffsetRange]] = [[] for _ in range(parts)]
    for item in sorted(ranges, key=lambda item: (-item.offsets, item)):
        min(shares, key=lambda share: sum(other.offsets for other in share)).append(item)
    return shares[part]
