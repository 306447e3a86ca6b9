"""Epochs from the cache: bit for bit those of the log, also after a stop, a kill, damage or a full disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from include.codecs.base import Codec
from include.codecs.png import PngCodec
from include.codecs.raw import RawCodec
from include.codecs.row import RowCodec
from include.feed.cache import CacheWriter, FeedCache
from include.feed.feed import Feed, FeedReport
from include.feed.manifest import Manifest
from include.feed.split import Split
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import freeze_ranges
from tests.support.administrator import delete_records
from tests.support.producers import Record, produce

SAMPLES, BATCH, WINDOW, MANY = 2600, 50, 400, 2**30
REFUSED, UNDECODABLE = {37, 1400}, {40, 41, 2000}
RAW = RawCodec(shape=(2,), dtype="int32")
PNG = PngCodec(height=2, width=3)
ROW = RowCodec(numbers=("n",), categories=("c",))


def value(codec: Codec, number: int) -> bytes | None:
    if number in UNDECODABLE:
        return None if number % 2 else b"12345"
    if isinstance(codec, RowCodec):
        return b'{"n": %d, "c": "%d"}' % (number, number % 3)
    if isinstance(codec, PngCodec):
        return codec.encode(np.full((1, 2, 3), number % 256, np.uint8))
    return codec.encode(np.array([number, -number], np.int32))


@pytest.fixture(scope="module")
def manifests(kafka, new_topic):
    """By the codec's kind: two partitions of several blocks each, some records of which are no samples."""

    def make(codec: Codec) -> Manifest:
        topic = new_topic(partitions=2)
        for partition in range(2):
            produce(
                kafka,
                topic,
                [
                    Record(
                        key=b"%d" % number,
                        value=value(codec, number),
                        headers=[
                            ("schema", codec.schema_name.encode()),
                            ("label", b"z" if number in REFUSED else b"a"),
                        ],
                    )
                    for number in range(partition, SAMPLES, 2)
                ],
                partition=partition,
            )
        ranges = tuple(freeze_ranges(kafka, topic))
        return Manifest(topic, ranges, codec.schema_name, ("a", "b"), Split("salt", 0.2), seed=1)

    return {codec.kind: make(codec) for codec in (RAW, PNG, ROW)}


def feed_of(kafka: KafkaConnection, manifest: Manifest, codec: Codec, folder: Path | None, limit: int = MANY) -> Feed:
    cache = None if folder is None else FeedCache(folder, limit)
    return Feed(kafka, manifest, codec, batch_size=BATCH, window=WINDOW, cache=cache)


def epoch_of(feed: Feed) -> list[tuple[bytes, bytes, object]]:
    """Each batch that is left in the epoch, and the position after it."""
    return [(inputs.numpy().tobytes(), labels.numpy().tobytes(), str(feed.state_dict())) for inputs, labels in feed]


def report_of(feed: Feed) -> FeedReport:
    """The report; in which order a broker's answers show refused and undecodable records is chance."""
    return replace(feed.report, examples=sorted(feed.report.examples))


@pytest.fixture(scope="module")
def epochs(kafka, manifests):
    """Three epochs of the arrays from the log, and the report of the last."""
    feed = feed_of(kafka, manifests[RAW.kind], RAW, None)
    return [epoch_of(feed) for _ in range(3)], report_of(feed)


@pytest.fixture
def no_log(monkeypatch):
    """From its call on, reading the log is an error."""

    def refuse() -> None:
        def read(*_: object, **__: object) -> None:
            raise AssertionError("the log is read")

        for reader in ("read_ranges", "read_columns"):
            monkeypatch.setattr(f"include.feed.side.{reader}", read)

    return refuse


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("codec", [RAW, PNG, ROW], ids=["copied", "decoded", "encoded"])
def test_later_epochs_from_the_cache_are_those_of_the_log(kafka, manifests, codec, tmp_path, no_log):
    manifest, counts = manifests[codec.kind], isinstance(codec, RowCodec)
    codecs = [codec.counting() if counts else codec for _ in range(2)]
    feeds = [feed_of(kafka, manifest, codecs[0], None), feed_of(kafka, manifest, codecs[1], tmp_path)]
    expected = [(epoch_of(feeds[0]), report_of(feeds[0])) for _ in range(3)]

    found = [(epoch_of(feeds[1]), report_of(feeds[1]))]
    no_log()
    found += [(epoch_of(feeds[1]), report_of(feeds[1])) for _ in range(2)]

    assert found == expected
    assert sum(found[2][1].refused.values()) > 0
    assert codecs[0].statistics == codecs[1].statistics
    assert (codecs[0].statistics is not None) == counts


@pytest.mark.parametrize("labels", [("x",), ("x", "y"), ("x", "y", "z")], ids=len)
def test_targets_that_are_numbers_come_from_the_cache_as_from_the_log(kafka, new_topic, labels, tmp_path, no_log):
    topic = new_topic(partitions=1)
    records = [
        Record(
            RAW.encode(np.array([number, 0], np.int32)),
            b"%d" % number,
            [("schema", RAW.schema_name.encode()), ("label", json.dumps([number + 0.5] * len(labels)).encode())],
        )
        for number in range(SAMPLES)
    ]
    produce(kafka, topic, records)
    ranges = tuple(freeze_ranges(kafka, topic))
    manifest = Manifest(topic, ranges, RAW.schema_name, labels, Split("salt", 0.2), seed=1, task="regression")
    feeds = [feed_of(kafka, manifest, RAW, None), feed_of(kafka, manifest, RAW, tmp_path)]
    expected = [epoch_of(feeds[0]) for _ in range(2)]

    found = [epoch_of(feeds[1])]
    no_log()
    found.append(epoch_of(feeds[1]))

    assert sum(len(batch[1]) for batch in expected[0]) > SAMPLES * len(labels)  # bytes: the labels were read
    assert found == expected


def test_a_feed_goes_on_in_the_middle_of_any_epoch(kafka, manifests, epochs, tmp_path):
    expected, _ = epochs
    feed = feed_of(kafka, manifests[RAW.kind], RAW, tmp_path)
    states = [[feed.state_dict() for _ in feed] for _ in range(3)]

    for epoch, batch in ((0, 0), (0, 17), (1, 7), (1, 8), (2, 23), (2, len(expected[2]) - 1)):
        resumed = feed_of(kafka, manifests[RAW.kind], RAW, tmp_path)
        resumed.load_state_dict(states[epoch][batch])
        assert epoch_of(resumed) == expected[epoch][batch + 1 :], (epoch, batch)
    assert resumed.epoch == 3


@pytest.mark.parametrize("left_after", [1, 12, 30])
def test_an_epoch_that_is_left_early_caches_whole_blocks_alone(kafka, manifests, epochs, tmp_path, left_after):
    expected, _ = epochs
    killed = feed_of(kafka, manifests[RAW.kind], RAW, tmp_path)
    batches = iter(killed)
    for _ in range(left_after):
        next(batches)
    batches.close()
    unfinished = next(tmp_path.iterdir()) / ".aside-0-0-1024"
    unfinished.write_bytes(b"killed while it was written")

    feed = feed_of(kafka, manifests[RAW.kind], RAW, tmp_path)
    feed.load_state_dict(killed.state_dict())

    assert [epoch_of(feed) for _ in range(3)] == [expected[0][left_after:], *expected[1:]]
    assert not unfinished.exists()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit": flip,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "emptied": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "removed": Path.unlink,
    "another block's": lambda path: path.write_bytes(files_in(path.parent)[-1].read_bytes()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_block_is_read_from_the_log_and_cached_again(
    kafka, manifests, epochs, tmp_path, damage, no_log, caplog
):
    expected, report = epochs
    feed = feed_of(kafka, manifests[RAW.kind], RAW, tmp_path)
    epoch_of(feed)
    whole = {path: path.stat().st_size for path in files_in(tmp_path)}
    DAMAGE[damage](next(iter(whole)))

    again = feed_of(kafka, manifests[RAW.kind], RAW, tmp_path)
    again.load_state_dict(feed.state_dict())
    found = [epoch_of(again)]
    found.append(epoch_of(again))
    no_log()
    assert [epoch_of(feed_of(kafka, manifests[RAW.kind], RAW, tmp_path)), *found] == expected
    assert report_of(again) == report
    assert {path.name for path in files_in(tmp_path)} == {path.name for path in whole}
    assert ("removed, and read from the log" in caplog.text) == (damage != "removed")


def test_what_does_not_fit_is_read_from_the_log_in_each_epoch(kafka, manifests, epochs, tmp_path):
    expected, _ = epochs
    epoch_of(feed_of(kafka, manifests[RAW.kind], RAW, tmp_path / "whole"))
    limit = sum(path.stat().st_size for path in files_in(tmp_path / "whole")) // 2
    feed = feed_of(kafka, manifests[RAW.kind], RAW, tmp_path / "part", limit)

    assert [epoch_of(feed) for _ in range(3)] == expected
    assert 0 < sum(path.stat().st_size for path in files_in(tmp_path / "part")) <= limit


def test_an_error_of_the_disk_ends_the_caching_alone(kafka, manifests, epochs, tmp_path, monkeypatch, caplog):
    expected, _ = epochs

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CacheWriter, "_append", full)
    feed = feed_of(kafka, manifests[RAW.kind], RAW, tmp_path)

    assert [epoch_of(feed) for _ in range(3)] == expected
    assert files_in(tmp_path) == []
    assert caplog.text.count("No space left on device") == 1


def test_a_fault_of_the_writer_itself_is_not_swallowed(kafka, manifests, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(CacheWriter, "_append", fail)

    with pytest.raises(ZeroDivisionError):
        epoch_of(feed_of(kafka, manifests[RAW.kind], RAW, tmp_path))


def test_a_writer_that_falls_behind_leaves_blocks_out_and_none_incomplete(
    kafka, manifests, epochs, tmp_path, monkeypatch
):
    expected, _ = epochs
    monkeypatch.setattr("include.feed.cache.WAITING_BYTES", 1)
    feed = feed_of(kafka, manifests[RAW.kind], RAW, tmp_path)

    assert [epoch_of(feed) for _ in range(3)] == expected


def test_another_side_manifest_or_window_has_another_cache(kafka, manifests, tmp_path):
    manifest = manifests[RAW.kind]
    settings = [{}, {"side": "held_out"}, {"window": 2 * WINDOW}, {"batch_size": 7}]
    for changed in settings:
        epoch_of(
            Feed(
                kafka,
                manifest,
                RAW,
                cache=FeedCache(tmp_path, MANY),
                **{"batch_size": BATCH, "window": WINDOW, **changed},
            )
        )
    epoch_of(feed_of(kafka, replace(manifest, seed=2), RAW, tmp_path))

    assert len(list(tmp_path.iterdir())) == len(settings) + 1


def test_an_epoch_from_the_cache_needs_no_record_that_retention_has_removed(kafka, new_topic, tmp_path):
    topic = new_topic()
    headers = [("schema", RAW.schema_name.encode()), ("label", b"a")]
    produce(kafka, topic, [Record(key=b"%d" % number, value=value(RAW, 7), headers=headers) for number in range(90)])
    manifest = Manifest(topic, tuple(freeze_ranges(kafka, topic)), RAW.schema_name, ("a", "b"), Split("salt", 0.2), 1)
    feed = feed_of(kafka, manifest, RAW, tmp_path)
    first = epoch_of(feed)
    delete_records(kafka, topic, 90)

    assert [batch[:2] for batch in epoch_of(feed)] == [batch[:2] for batch in first]
