"""Incremental training: the ranges that are new to a model, and a replay sample of older ones."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from include.kafka.ranges import OffsetRange

log = logging.getLogger(__name__)

# A block of old offsets is long compared with a seek, and short compared with a topic.
BLOCK = 1024


def incremental_ranges(
    ranges: Sequence[OffsetRange], learnt: Iterable[OffsetRange], *, replay_share: float, seed: int, least: int = 0
) -> list[OffsetRange]:
    """All new ranges plus a replay sample of old ones.

    All of a partition is new if it was added, if the topic was recreated, or if the log ends before the offset that the
    model has learnt to: a model may learn from any samples.

    Args:
        ranges: one for each partition, all of it.
        learnt: the ranges in the manifest of the model that the training starts from.
        replay_share: about which share of the offsets is old, from 0 to below 1; all old ones if there are too few,
            and more than that for `least`.
            They are blocks of 1,024 offsets, chosen by `seed` and by how far the model has learnt: the same model and
            topic always give the same blocks, a later model gives others.
        least: how many offsets to return at least, where older ones are replayed at all and there are enough.

    Returns:
        Disjoint ranges in order of partition and offset; none if nothing is new. For each partition one of them ends
        where the partition ends, if need be an empty one, so that the next training knows what is new to it.
    """
    import numpy as np

    reached: dict[tuple[str, int], int] = {}
    for item in learnt:
        key = (item.topic_id, item.partition)
        reached[key] = max(reached.get(key, 0), item.end)
    new, older = [], []
    for item in ranges:
        end = reached.get((item.topic_id, item.partition), item.start)
        if end > item.end:
            log.warning(
                f"Topic {item.topic} partition {item.partition} ends at offset {item.end} and the model has learnt to "
                f"offset {end}: all of it is new."
            )
            end = item.start
        middle = max(item.start, end)
        new.append(replace(item, start=middle))
        older += [
            replace(item, start=start, end=min(start + BLOCK, middle)) for start in range(item.start, middle, BLOCK)
        ]
    if not any(item.offsets for item in new):
        return []
    unlearnt = sum(item.offsets for item in new)
    wanted = round(unlearnt * replay_share / (1 - replay_share))
    if replay_share:
        wanted = max(wanted, least - unlearnt)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, sum(reached.values())))))
    chosen = []
    for index in generator.permutation(len(older)):
        if wanted <= 0:
            break
        block = older[index]
        chosen.append(replace(block, end=min(block.end, block.start + wanted)))
        wanted -= chosen[-1].offsets
    return _merged(new + chosen)


def _merged(ranges: list[OffsetRange]) -> list[OffsetRange]:
    """The ranges in order, with adjacent ones joined."""
    merged: list[OffsetRange] = []
    for item in sorted(ranges, key=lambda item: (item.partition, item.start)):
        last = merged[-1] if merged else None
        if last is not None and (last.partition, last.end) == (item.partition, item.start):
            merged[-1] = replace(last, end=item.end)
        else:
            merged.append(item)
    return merged
