"""Incremental training: the ranges that came since a model was trained, and some of those before."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from include.kafka.ranges import OffsetRange

log = logging.getLogger(__name__)

# Long against a seek, short against a topic.
BLOCK = 1024


def incremental_ranges(
    ranges: Sequence[OffsetRange], learnt: Iterable[OffsetRange], *, replay_share: float, seed: int
) -> list[OffsetRange]:
    """What lies behind the ranges that were learnt from, and of what lies before it as much as is to be learnt again.

    Of a partition that is new, of a topic that was made again, or of a log that ends before what was learnt from,
    everything is new: a model may learn from any samples.

    Args:
        ranges: all that the topic has, one for each partition.
        learnt: from the manifest of the model that the training starts from.
        replay_share: about which share of the offsets is older, from 0 to below 1; all that there is where it is too
            little. They come as blocks of 1,024 offsets, chosen by `seed` and by how far the model has learnt, so that
            the same model and topic give the same ones, and a later model others.

    Returns:
        Disjoint ranges in order of partition and offset, none where nothing is new. Each partition has one that ends
        where the topic does, an empty one if need be: from there on the next training has something new.
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
                "Topic %s partition %d ends at offset %d and was learnt from to %d: all of its samples are new.",
                item.topic,
                item.partition,
                item.end,
                end,
            )
            end = item.start
        middle = max(item.start, end)
        new.append(replace(item, start=middle))
        older += [
            replace(item, start=start, end=min(start + BLOCK, middle)) for start in range(item.start, middle, BLOCK)
        ]
    if not any(item.offsets for item in new):
        return []
    wanted = round(sum(item.offsets for item in new) * replay_share / (1 - replay_share))
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
    """In order, neighbours as one."""
    merged: list[OffsetRange] = []
    for item in sorted(ranges, key=lambda item: (item.partition, item.start)):
        last = merged[-1] if merged else None
        if last is not None and (last.partition, last.end) == (item.partition, item.start):
            merged[-1] = replace(last, end=item.end)
        else:
            merged.append(item)
    return merged
