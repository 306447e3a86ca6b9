"""Random arrays that can be read again."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from include.codecs.base64_tensor import Base64Codec
from include.sources import random_arrays
from include.sources.base import fingerprint
from include.sources.random_arrays import RandomSource


def small(**settings):
    return RandomSource(**{"shape": (2, 3), "total": 100, **settings})


def test_the_images_of_the_tutorials_are_the_default():
    sample = RandomSource(total=1).read(0, 1)[0]

    assert (sample.content.shape, sample.content.dtype, sample.label) == ((100, 100, 3), "float64", None)
    assert 0 <= sample.content.min() < 0.01
    assert 0.99 < sample.content.max() < 1


def test_they_are_what_the_tutorials_format_takes():
    codec = Base64Codec(shape=(100, 100, 3), dtype="float64")
    content = RandomSource(total=1).read(0, 1)[0].content

    np.testing.assert_array_equal(codec.decode([codec.encode(content)]).samples[0], content)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_every_dtype_fills_its_range(dtype):
    content = RandomSource(total=1, dtype=dtype).read(0, 1)[0].content
    least, most = (0, 1) if dtype.startswith("float") else (np.iinfo(dtype).min, np.iinfo(dtype).max)

    assert content.dtype == dtype
    assert content.mean() == pytest.approx((least + most) / 2, abs=(float(most) - float(least)) / 100)
    assert content.std() == pytest.approx((float(most) - float(least)) / 12**0.5, rel=0.02)


def test_a_position_is_the_same_sample_whatever_is_read_around_it():
    source = small(labels=("a", "b"))
    together = source.read(0, 100)
    apart = [source.read(position, 1)[0] for position in range(100)]

    assert fingerprint(together) == fingerprint(apart)


def test_samples_stay_what_they_were_in_earlier_versions():
    """A batch that was begun with one release is finished with another."""
    assert fingerprint(small(labels=("a", "b"), dtype="float32").read(0, 100)) == KNOWN
    assert fingerprint(small(dtype="int16").read(0, 100)) == KNOWN_INTEGERS


KNOWN = "eee2657202c0bac854d08e68fc97b5782d685b1adce9cb75f300a13bd3a47fc3"
KNOWN_INTEGERS = "96937cc8de1909116dd316e02cd1f42d5b4a2b49ba883d6057c98be797a4cac5"


def test_no_sample_comes_twice():
    samples = small().read(0, 100) + small(seed=2).read(0, 100)

    assert len({sample.id for sample in samples}) == 200
    assert len({sample.content.tobytes() for sample in samples}) == 200


def test_labels_are_drawn_evenly():
    labels = [sample.label for sample in small(labels=("a", "b"), total=2000).read(0, 2000)]

    assert labels.count("a") == pytest.approx(1000, abs=100)


def test_the_end_is_the_total():
    source = small()

    assert source.count() == 100
    assert len(source.read(95, 100)) == 5
    assert source.read(100, 1) == source.read(200, 1) == []


def test_what_is_read_at_once_is_bounded(monkeypatch):
    monkeypatch.setattr(random_arrays, "READ_BYTES", 3 * 2 * 3 * 8)

    assert len(small().read(0, 100)) == 3


def test_samples_come_at_the_rate_that_was_asked_for(monkeypatch):
    since = datetime(2026, 1, 1, tzinfo=UTC)
    source = small(per_hour=90, since=since, total=200)
    counts = []
    for passed in (timedelta(hours=-1), timedelta(0), timedelta(seconds=39), timedelta(seconds=40), timedelta(hours=2)):
        monkeypatch.setattr(time, "time", (since + passed).timestamp)
        counts.append(source.count())

    assert counts == [0, 0, 0, 1, 180]
    monkeypatch.setattr(time, "time", (since + timedelta(days=1)).timestamp)
    assert source.count() == 200


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "total"),
        ({"per_hour": 10}, "since"),
        ({"since": datetime(2026, 1, 1, tzinfo=UTC)}, "per_hour"),
        ({"since": datetime(2026, 1, 1), "per_hour": 1}, "timezone"),  # noqa: DTZ001 - what is refused
        ({"total": 0}, "greater than or equal to 1"),
        ({"total": 1, "shape": (3000, 3000)}, "72000000 bytes"),
        ({"total": 1, "dtype": "object"}, "float64"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_file_is_parsed(settings, expected):
    with pytest.raises(ValidationError, match=expected):
        RandomSource(**settings)
