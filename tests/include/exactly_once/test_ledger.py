"""A reader of the ledger gets all that was committed and nothing else, also while other steps write."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from itertools import count

import pytest

from include.exactly_once import ledger
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.snapshot import snapshot_ledger, snapshot_ledger_below
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.errors import ReaderStalled, TopicMissing
from tests.support.assertions import assert_readable
from tests.support.producers import Record, abort, commit, open_transaction, produce, produce_in


def key_of(scope):
    return LedgerKey("local", "shoes", "step", scope)


def neighbour(key):
    """Another step's key in the same partition of the ledger."""
    others = (key_of(f"neighbour {number}") for number in count())
    return next(other for other in others if other.partition == key.partition)


def record(kafka, key, *entries):
    for entry in entries:
        with TransactionalWriter(kafka, f"{key.scope}-{ledger.LEDGER_TOPIC}") as writer, writer.transaction():
            writer.write_ledger(key, entry)


def plain(key, value):
    return Record(key=key.encode(), value=value)


def test_the_last_entry_of_a_key_counts(kafka, own_ledger):
    key = key_of("batch 1")
    record(kafka, key, {"position": 1}, {"position": 3}, {"position": 2})

    assert snapshot_ledger(kafka, [key]) == {key: {"position": 2}}


def test_keys_are_read_at_once_wherever_they_lie(kafka, own_ledger):
    keys = [key_of(f"batch {number}") for number in range(20)]
    assert len({key.partition for key in keys}) > 1
    with TransactionalWriter(kafka, own_ledger) as writer, writer.transaction():
        for number, key in enumerate(keys):
            writer.write_ledger(key, {"number": number})

    assert snapshot_ledger(kafka, keys) == {key: {"number": number} for number, key in enumerate(keys)}


def test_a_key_without_an_entry_is_left_out(kafka, own_ledger):
    known, unknown = key_of("known"), key_of("unknown")
    record(kafka, known, {"position": 1})

    assert snapshot_ledger(kafka, [known, unknown]) == {known: {"position": 1}}


@pytest.mark.parametrize(
    "other",
    [
        LedgerKey("local", "hats", "step", "batch"),
        LedgerKey("local", "shoes", "other step", "batch"),
        LedgerKey("local", "shoes", "step", "other batch"),
    ],
)
def test_keys_that_differ_in_any_part_have_separate_entries(kafka, own_ledger, other):
    record(kafka, other, {"position": 1})

    assert snapshot_ledger(kafka, [key_of("batch")]) == {}


def test_a_deleted_entry_is_gone(kafka, own_ledger):
    key = key_of("batch")
    record(kafka, key, {"position": 1})
    produce(kafka, own_ledger, [plain(key, None)], partition=key.partition)

    assert snapshot_ledger(kafka, [key]) == {}


def test_no_ledger_is_not_an_empty_ledger(kafka, new_name, monkeypatch):
    missing = new_name()
    monkeypatch.setattr(ledger, "LEDGER_TOPIC", missing)

    with pytest.raises(TopicMissing) as refusal:
        snapshot_ledger(kafka, [key_of("batch")])

    assert_readable(refusal.value, missing, kafka.bootstrap_servers)


def test_aborted_entries_are_never_seen(kafka, own_ledger):
    key = key_of("batch")
    partition = key.partition
    abort(kafka, own_ledger, [plain(key, b"garbage that is no JSON")], partition=partition)
    commit(kafka, own_ledger, [plain(key, b'{"position": 1}')], partition=partition)
    abort(kafka, own_ledger, [plain(key, b'{"position": 99}')], partition=partition)

    assert snapshot_ledger(kafka, [key]) == {key: {"position": 1}}


def test_exactly_the_entries_below_a_scope_are_read(kafka, own_ledger):
    below = [key_of(f"topic-1/0/{offset}") for offset in range(20)]
    beside = [key_of("topic-1"), key_of("topic-10/0/1"), LedgerKey("local", "shoes", "other", "topic-1/0/1")]
    with TransactionalWriter(kafka, own_ledger) as writer, writer.transaction():
        for number, key in enumerate([*below, *beside]):
            writer.write_ledger(key, {"number": number})
    abort(kafka, own_ledger, [plain(key_of("topic-1/0/99"), b"{}")], partition=0)

    found = dict(snapshot_ledger_below(kafka, key_of("topic-1")))

    assert found == {f"0/{offset}": {"number": offset} for offset in range(20)}


def test_a_deleted_entry_below_a_scope_is_none(kafka, own_ledger):
    key = key_of("topic-1/5")
    record(kafka, key, {"number": 1})
    commit(kafka, own_ledger, [plain(key, None)], partition=key.partition)

    assert list(snapshot_ledger_below(kafka, key_of("topic-1"))) == [("5", {"number": 1}), ("5", None)]


def test_an_open_transaction_of_another_step_delays_the_reading_and_hides_nothing(kafka, own_ledger):
    """Until it is decided, a read_committed reader sees nothing behind its first record, committed or not."""
    key = key_of("batch")
    partition = key.partition

    with ThreadPoolExecutor(1) as thread, open_transaction(kafka, own_ledger) as other:
        produce_in(other, own_ledger, [plain(neighbour(key), b'{"position": 5}')], partition=partition)
        record(kafka, key, {"position": 1})

        reading = thread.submit(snapshot_ledger, kafka, [key])
        with pytest.raises(StillRunning):
            reading.result(timeout=1)
        other.commit_transaction(10)

        assert reading.result(timeout=10) == {key: {"position": 1}}


def test_an_aborted_transaction_of_another_step_delays_no_longer(kafka, own_ledger):
    key = key_of("batch")
    partition = key.partition

    with ThreadPoolExecutor(1) as thread, open_transaction(kafka, own_ledger) as other:
        produce_in(other, own_ledger, [plain(neighbour(key), b'{"position": 5}')], partition=partition)
        reading = thread.submit(snapshot_ledger, kafka, [key, neighbour(key)])
        with pytest.raises(StillRunning):
            reading.result(timeout=0.5)
        other.abort_transaction(10)

        assert reading.result(timeout=10) == {}


def test_a_transaction_that_stays_open_is_named_in_an_error(kafka, own_ledger):
    key = key_of("batch")

    with open_transaction(kafka, own_ledger) as other:
        produce_in(other, own_ledger, [plain(neighbour(key), b"{}")], partition=key.partition)
        with pytest.raises(ReaderStalled) as refusal:
            snapshot_ledger(kafka, [key], settle_timeout_s=0.5)

    assert_readable(refusal.value, own_ledger, f"partition {key.partition}", "before offset 1", "0.5 s")


def test_an_entry_that_is_no_json_is_refused_when_written(kafka, own_ledger):
    with (
        pytest.raises(ValueError, match="not JSON compliant"),
        TransactionalWriter(kafka, own_ledger) as writer,
        writer.transaction(),
    ):
        writer.write_ledger(key_of("batch"), {"position": float("nan")})

    assert snapshot_ledger(kafka, [key_of("batch")]) == {}
