"""A fingerprint tells when a source gives anything else than it gave before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from include.sources.base import SourceSample, fingerprint

SAMPLE = SourceSample("one", np.arange(6, dtype=np.uint8).reshape(2, 3), label="a", group="g")
OTHER = replace(SAMPLE, id="two")


def test_the_same_samples_have_the_same_fingerprint():
    again = replace(SAMPLE, content=SAMPLE.content.copy())

    assert fingerprint([SAMPLE, OTHER]) == fingerprint([again, OTHER])


@pytest.mark.parametrize(
    "changed",
    [
        replace(SAMPLE, id="One"),
        replace(SAMPLE, label="b"),
        replace(SAMPLE, label=None),
        replace(SAMPLE, label=""),
        replace(SAMPLE, group=None),
        replace(SAMPLE, label="g", group="a"),
        replace(SAMPLE, label="ag", group=""),
        replace(SAMPLE, content=SAMPLE.content.reshape(3, 2)),
        replace(SAMPLE, content=SAMPLE.content.astype(np.int8)),
        replace(SAMPLE, content=SAMPLE.content[:, ::-1]),
    ],
    ids=["id", "label", "no label", "empty label", "no group", "swapped", "moved", "shape", "dtype", "content"],
)
def test_any_change_of_a_sample_shows(changed):
    assert fingerprint([changed, OTHER]) != fingerprint([SAMPLE, OTHER])


def test_no_label_is_not_an_empty_label():
    assert fingerprint([replace(SAMPLE, label=None)]) != fingerprint([replace(SAMPLE, label="")])


def test_order_and_number_show():
    assert len({fingerprint(samples) for samples in ([], [SAMPLE], [SAMPLE, OTHER], [OTHER, SAMPLE])}) == 4
