"""The formulas of `millrace plan`, each by an example that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from include.planning.sizing import Capacity, Load, plan_topic

HOUR_S = 3600
LOAD = Load(
    rate=100,
    peak=2,
    record_bytes=10_000,
    largest_bytes=20_000,
    tasks=1,
    retention_s=24 * HOUR_S,
    outage_s=0,
    recovery_s=HOUR_S,
)
CAPACITY = Capacity(brokers=3, write_bytes_s=10e6, task_rate=1000)


def planned(load: Load = LOAD, capacity: Capacity = CAPACITY) -> dict[str, str]:
    return {item.name: item.value for item in plan_topic(load, capacity)}


@pytest.mark.parametrize(
    ("load", "capacity", "partitions"),
    [
        pytest.param(LOAD, CAPACITY, 1, id="one partition carries 2 MB/s"),
        pytest.param(LOAD, replace(CAPACITY, write_bytes_s=0.5e6), 4, id="writing 2 MB/s at 0.5 MB/s a partition"),
        pytest.param(LOAD, replace(CAPACITY, task_rate=50), 4, id="reading 200 a second at 50 a task"),
        pytest.param(
            replace(LOAD, outage_s=8 * HOUR_S, recovery_s=2 * HOUR_S), replace(CAPACITY, task_rate=50), 10,
            id="100 a second and the backlog of 8 hours in 2",
        ),
        pytest.param(replace(LOAD, tasks=6), CAPACITY, 6, id="a partition for each task"),
        pytest.param(replace(LOAD, tasks=3), replace(CAPACITY, write_bytes_s=0.5e6), 6, id="as many for each task"),
    ],
)  # fmt: skip
def test_partitions_are_enough_to_write_to_read_and_to_catch_up(load, capacity, partitions):
    assert planned(load, capacity)["partitions"] == str(partitions)


@pytest.mark.parametrize(("brokers", "copies", "in_sync"), [(1, "1", "1"), (2, "2", "1"), (3, "3", "2"), (9, "3", "2")])
def test_three_copies_where_there_are_three_nodes_and_writing_survives_one(brokers, copies, in_sync):
    found = planned(capacity=replace(CAPACITY, brokers=brokers))

    assert (found["replication.factor"], found["min.insync.replicas"]) == (copies, in_sync)


def test_records_are_kept_for_the_longest_outage_and_its_recovery():
    found = planned(replace(LOAD, rate=1, retention_s=HOUR_S, outage_s=8 * HOUR_S, recovery_s=4 * HOUR_S))

    assert found["retention.ms"] == str(12 * HOUR_S * 1000)
    # A tenth of 1/s x 10,000 bytes x 43,200 s.
    assert found["segment.bytes"] == "43200000"


def test_the_disk_holds_the_retention_of_every_copy_with_room_to_spare():
    # 100/s x 10,000 bytes x 86,400 s = 86.4 GB, and one segment of a gibibyte; three copies on three nodes, 60 % used.
    assert planned()["disk of each broker"] == f"{(86.4e9 + 2**30) / 0.6 / 2**30:,.1f} GiB"


def test_ten_segments_hold_the_retention_within_the_limits_of_a_segment():
    quiet, busy = planned(replace(LOAD, rate=0.01)), planned(LOAD)

    assert (quiet["segment.bytes"], busy["segment.bytes"]) == (str(16 * 2**20), str(2**30))
    assert busy["segment.ms"] == str(24 * HOUR_S * 100)


def test_the_largest_record_fits_into_a_message_and_into_a_batch():
    found = planned(replace(LOAD, largest_bytes=5 * 2**20))

    assert found["max.message.bytes"] == str(6 * 2**20)
    assert found["linger.ms, batch.size"].endswith(f" {5 * 2**20}")


def test_a_format_that_compresses_is_not_compressed_again():
    assert (planned()["compression.type"], planned(replace(LOAD, compressed=True))["compression.type"]) == (
        "zstd",
        "none",
    )


def test_a_producer_that_librdkafka_makes_sends_nothing_behind_a_request_that_may_be_refused():
    assert planned()["max.in.flight.requests.per.connection"] == "1 for librdkafka"


def test_every_recommendation_has_its_numbers_its_price_and_its_source():
    for item in plan_topic(LOAD, CAPACITY):
        assert item.formula, item.name
        assert item.trade_off, item.name
        assert item.source.startswith("https://"), item.name
