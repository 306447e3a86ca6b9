"""Which ranges an incremental training reads: all that is new, and about as many older offsets as were asked for."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.feed.feed import Feed
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.training.incremental import BLOCK, incremental_ranges
from include.training.job import TrainingJob
from include.training.loop import train
from tests.support.digit_trainings import digits_pipeline, fill, job_over
from tests.support.resumed_trainings import bits, trained_in_pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.kafka.connection import KafkaConnection


def offsets(start: int, end: int, partition: int = 0, topic_id: str = "id") -> OffsetRange:
    return OffsetRange("t", topic_id, partition, start, end)


def chosen(ranges: list[OffsetRange], learnt: list[OffsetRange], share: float, seed: int = 1) -> list[OffsetRange]:
    return incremental_ranges(ranges, learnt, replay_share=share, seed=seed)


@pytest.mark.parametrize(
    ("ranges", "learnt", "expected"),
    [
        ([offsets(0, 100)], [offsets(0, 60)], [offsets(60, 100)]),
        ([offsets(0, 100), offsets(0, 9, 1)], [offsets(0, 100)], [offsets(100, 100), offsets(0, 9, 1)]),
        ([offsets(0, 100)], [offsets(0, 20), offsets(70, 90), offsets(30, 40)], [offsets(90, 100)]),
        ([offsets(80, 100)], [offsets(0, 60)], [offsets(80, 100)]),
        ([offsets(0, 100)], [offsets(0, 100)], []),
        ([offsets(0, 100)], [offsets(0, 60, topic_id="before")], [offsets(0, 100)]),
        ([offsets(0, 50)], [offsets(0, 60)], [offsets(0, 50)]),
    ],
    ids=["behind", "a new partition", "behind all", "cut by retention", "nothing", "recreated", "a lost tail"],
)
def test_new_is_what_lies_behind_the_champion_s(
    ranges: list[OffsetRange], learnt: list[OffsetRange], expected: list[OffsetRange]
) -> None:
    assert chosen(ranges, learnt, 0) == expected


@pytest.mark.parametrize(("share", "older"), [(0.0, 0), (0.25, 96), (0.99, 396)])
def test_a_few_new_samples_come_with_as_many_older_ones_as_a_training_needs(share: float, older: int) -> None:
    """A single new sample may start a training, and would fill no batch."""
    found = incremental_ranges([offsets(0, 60_000)], [offsets(0, 59_996)], replay_share=share, seed=1, least=100)

    assert sum(item.offsets for item in found) == 4 + older


@pytest.mark.parametrize(("share", "older"), [(0.0, 0), (0.25, 1000), (0.5, 3000), (0.9, 27_000)])
def test_so_many_older_offsets_are_read_again(share: float, older: int) -> None:
    found = chosen([offsets(0, 60_000), offsets(0, 43_000, 1)], [offsets(0, 58_000), offsets(0, 42_000, 1)], share)
    assert sum(item.offsets for item in found) == 3000 + older
    ends = [(item.partition, item.start, item.end) for item in found]
    assert ends == sorted(ends)
    assert all(a[0] < b[0] or a[2] < b[1] for a, b in itertools.pairwise(ends))


def test_a_partition_with_nothing_new_is_not_new_to_the_next_training() -> None:
    topic = [offsets(0, 50_000), offsets(0, 1000, 1)]
    first = chosen(topic, [offsets(0, 50_000)], 0.5)
    grown = [offsets(0, 50_000), offsets(0, 1001, 1)]
    assert chosen(grown, first, 0) == [offsets(50_000, 50_000), offsets(1000, 1001, 1)]


def test_where_there_is_too_little_all_of_it_is_read_again() -> None:
    assert chosen([offsets(0, 3000)], [offsets(0, 2000)], 0.99) == [offsets(0, 3000)]


def test_the_same_champion_gives_the_same_blocks_and_another_others() -> None:
    topic = [offsets(0, 100 * BLOCK)]
    first, again = (chosen(topic, [offsets(0, 90 * BLOCK)], 0.5) for _ in range(2))
    assert first == again
    assert chosen(topic, [offsets(0, 90 * BLOCK)], 0.5, seed=2) != first
    assert chosen(topic, [offsets(0, 91 * BLOCK)], 0.5)[0] != first[0]


def test_an_incremental_run_in_pieces_ends_with_the_bits_of_a_whole_one(
    kafka: KafkaConnection, new_images: Callable[[int], str], tmp_path: Path
) -> None:
    topic = new_images(300)
    learnt = freeze_ranges(kafka, topic)
    fill(kafka, topic, 200, start=300)
    ranges = chosen(freeze_ranges(kafka, topic), learnt, 0.4)
    job = job_over(kafka, topic, epochs=2)
    job = job.model_copy(update={"manifest": TrainingJob.of(digits_pipeline(), ranges).manifest})
    assert sum(item.offsets for item in ranges) < 500
    whole = train(job, kafka, tmp_path / "whole")
    pieces, attempts = trained_in_pieces(kafka, job, tmp_path / "pieces", 7)
    assert attempts > 2
    assert bits(pieces) == bits(whole)
    records = sum(
        len(labels)
        for side in ("train", "held_out")
        for _, labels in Feed(kafka, job.manifest, job.format, batch_size=32, side=side)
    )
    assert whole.train.total + whole.held_out.total == records > 200
