"""The bundled source: the same samples at every reading, from any position."""

from __future__ import annotations

import numpy as np

from include.codecs.png import PngCodec
from include.sources.digits import DigitsSource

SOURCE = DigitsSource()


def test_there_are_1797_samples_with_ids_of_their_own():
    samples = SOURCE.read(0, SOURCE.count())

    assert SOURCE.count() == len(samples) == 1797
    assert len({sample.id for sample in samples}) == 1797


def test_samples_are_what_the_pipeline_s_format_takes():
    codec = PngCodec(height=8, width=8)

    for sample in SOURCE.read(0, 50):
        np.testing.assert_array_equal(codec.decode([codec.encode(sample.content)]).samples[0], sample.content)


def test_ink_fills_the_range_of_a_pixel():
    contents = np.stack([sample.content for sample in SOURCE.read(0, 1797)])

    assert (contents.min(), contents.max()) == (0, 255)
    assert len(np.unique(contents)) == 17


def test_every_digit_occurs_and_has_its_own_label():
    labels = [sample.label for sample in SOURCE.read(0, 1797)]

    assert set(labels) == set("0123456789")
    assert labels[:10] == list("0123456789"), "the set begins with one of each"


def test_positions_name_the_same_samples_whatever_is_read_around_them():
    together = SOURCE.read(100, 20)
    apart = [SOURCE.read(position, 1)[0] for position in range(100, 120)]

    assert [sample.id for sample in together] == [sample.id for sample in apart]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_array_equal(one.content, other.content)


def test_reading_beyond_the_end_gives_what_there_is():
    assert len(SOURCE.read(1790, 100)) == 7
    assert SOURCE.read(1797, 100) == []
