"""Every bad value is refused with its reason, in one sentence, and nothing else happens."""

from __future__ import annotations

import pytest

from include.codecs.base import REASONS
from include.definition.kinds import KINDS
from tests.support.assertions import assert_readable
from tests.support.corpus import BAD_VALUES

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("bad", BAD_VALUES, ids=lambda bad: bad.name)
def test_a_bad_value_is_refused_with_its_reason(bad):
    codec = KINDS["format"][bad.format["kind"]].model_validate(bad.format)

    decoded = codec.decode([bad.value])

    (refusal,) = decoded.refusals
    assert (refusal.position, refusal.reason) == (0, bad.reason), refusal
    assert decoded.samples.shape == (0, *codec.sample_shape)
    assert_readable(ValueError(refusal.error))
    assert refusal.error.encode(), "the header of a dead letter"


def test_every_reason_has_a_bad_value():
    assert {bad.reason for bad in BAD_VALUES} == set(REASONS)


def test_every_bad_value_has_a_name_of_its_own():
    assert len({bad.name for bad in BAD_VALUES}) == len(BAD_VALUES)
