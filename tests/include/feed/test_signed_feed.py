"""Where samples are signed, the feed serves those whose signature holds, and names why the others are refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from include.codecs.raw import RawCodec
from include.feed import feed as feeds
from include.feed.feed import Feed
from include.feed.manifest import Manifest
from include.feed.split import Split
from include.kafka.ranges import freeze_ranges
from include.kafka.signing import InvalidSigningKeys, SigningKeys
from include.reading import records
from tests.support.producers import Record, produce
from tests.support.signed_records import KEYS, RETIRED, SECRET, TAMPERED, signed, with_header

CODEC = RawCodec(shape=(2,), dtype="int32")
LABELS = ("a", "b", "c")


def sample(number):
    return Record(
        key=f"sample-{number}".encode(),
        value=CODEC.encode(np.array([number, -number], np.int32)),
        headers=[("schema", CODEC.schema_name.encode()), ("label", LABELS[number % 3].encode())],
    )


def numbers_of(feed):
    return sorted(number for inputs, _ in feed for number in inputs[:, 0].long().tolist())


@pytest.fixture
def feed_of(kafka, new_topic):
    """Makes a feed over a topic of the given records."""

    def make(records, *, keys=KEYS, is_signed=True):
        topic = new_topic()
        produce(kafka, topic, records)
        ranges = tuple(freeze_ranges(kafka, topic))
        manifest = Manifest(topic, ranges, CODEC.schema_name, LABELS, Split("salt", 1e-9), seed=1, signed=is_signed)
        return Feed(replace(kafka, signing=keys), manifest, CODEC, batch_size=10)

    return make


def test_what_was_tampered_with_is_refused_with_its_reason(feed_of, monkeypatch):
    monkeypatch.setattr(feeds, "EXAMPLES_KEPT", len(TAMPERED))
    good = [signed(sample(number)) for number in range(20)]
    bad = [change(signed(sample(99))) for change, _ in TAMPERED.values()]
    feed = feed_of([*good, *bad])

    assert numbers_of(feed) == list(range(20))
    reasons = [reason for _, reason in TAMPERED.values()]
    assert feed.report.refused == Counter(reasons)
    parts = [example.split(": ") for example in feed.report.examples]
    reported = {int(address.split("/")[2]): reason for address, reason, *_ in parts}
    assert reported == {len(good) + number: reason for number, reason in enumerate(reasons)}


def test_the_label_of_a_signed_record_is_checked_too(feed_of):
    feed = feed_of([signed(with_header(sample(0), "label", b"z")), signed(sample(1))])

    assert numbers_of(feed) == [1]
    assert feed.report.refused == {"unknown-label": 1}


def test_a_retired_key_verifies_until_it_is_removed(feed_of):
    records = [signed(sample(0)), signed(sample(1), "2025", RETIRED)]

    assert numbers_of(feed_of(records)) == [0, 1]
    assert numbers_of(feed_of(records, keys=SigningKeys("2026", {"2026": SECRET}))) == [0]


def test_where_nothing_is_signed_a_signature_is_ignored(feed_of):
    records = [sample(0), signed(sample(1)), with_header(sample(2), "signature", b"forged")]

    assert numbers_of(feed_of(records, is_signed=False)) == [0, 1, 2]


def test_signatures_do_not_crowd_out_what_is_kept_of_headers(feed_of, monkeypatch):
    """Each record's own set of headers would be read anew, and the known ones forgotten."""
    heads = []
    read_headers = records.read_headers
    monkeypatch.setattr(records, "read_headers", lambda *given, **more: heads.append(1) or read_headers(*given, **more))

    feed = feed_of([signed(sample(number)) for number in range(300)])

    assert len(numbers_of(feed)) == 300
    assert len(heads) == len(LABELS)


def test_without_keys_a_signed_manifest_is_refused(feed_of):
    with pytest.raises(InvalidSigningKeys):
        feed_of([signed(sample(0))], keys=None)
