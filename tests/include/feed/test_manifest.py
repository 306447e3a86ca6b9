"""A manifest's split and digest: what makes two runs see the same samples."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from include.feed.manifest import Manifest
from include.feed.split import Split, group_crcs
from include.kafka.ranges import OffsetRange

MANIFEST = Manifest(
    pipeline="shoes",
    ranges=(OffsetRange("shoes.samples", "id", 0, 3, 20), OffsetRange("shoes.samples", "id", 1, 0, 7)),
    schema="tensor.raw/1",
    labels=("left", "right"),
    split=Split("salt", 0.2),
    seed=5,
)


def held_out(split, groups):
    return split.is_hash_held_out(group_crcs(groups))


def ids(count):
    return [f"shoe-{number:06d}".encode() for number in range(count)]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("salt", ["millrace", "other"])
def test_the_share_held_out_is_near_the_one_asked_for(salt, share):
    count = 20_000

    found = held_out(Split(salt, share), ids(count)).mean()

    assert found == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)


def test_neighbouring_ids_fall_independently():
    """A bare CRC holds sequential ids out at regular distances, and a series of shots would be split like a comb."""
    found = held_out(Split("millrace", 0.2), ids(20_000))

    distances = np.diff(np.flatnonzero(found))

    assert distances.std() == pytest.approx(20**0.5, rel=0.1), "as for coins that are thrown one by one"


def test_a_group_falls_the_same_way_wherever_it_stands():
    groups = ids(1000)
    split = Split("salt", 0.3)

    backwards = held_out(split, groups[::-1])[::-1]

    np.testing.assert_array_equal(held_out(split, groups), backwards)
    np.testing.assert_array_equal(held_out(split, groups), [held_out(split, [group])[0] for group in groups])


def test_another_salt_is_another_split():
    one, two = (held_out(Split(salt, 0.5), ids(1000)) for salt in ("one", "two"))

    assert np.mean(one == two) == pytest.approx(0.5, abs=0.1)


def test_the_split_is_what_it_has_always_been():
    """Models of different releases are compared on the same samples, so this may never change."""
    assert "".join("X" if held else "." for held in held_out(Split("millrace", 0.2), ids(40))) == KNOWN


KNOWN = "............X..X..XXX....X.....X...X...."


def test_a_manifest_survives_its_way_through_json():
    again = TypeAdapter(Manifest).validate_json(json.dumps(MANIFEST.to_dict()))

    assert again == MANIFEST
    assert again.digest == MANIFEST.digest


def test_the_id_begins_the_digest():
    assert len(MANIFEST.digest) == 64
    assert MANIFEST.id == MANIFEST.digest[:16]


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline": "boots"},
        {"ranges": MANIFEST.ranges[:1]},
        {"ranges": MANIFEST.ranges[::-1]},
        {"ranges": (replace(MANIFEST.ranges[0], end=19), MANIFEST.ranges[1])},
        {"ranges": (replace(MANIFEST.ranges[0], topic_id="other"), MANIFEST.ranges[1])},
        {"schema": "image.png/1"},
        {"labels": ("right", "left")},
        {"split": Split("other", 0.2)},
        {"split": Split("salt", 0.3)},
        {"split": Split("salt", 0.2, given=True)},
        {"seed": 6},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_change_changes_the_digest(change):
    assert replace(MANIFEST, **change).digest != MANIFEST.digest
