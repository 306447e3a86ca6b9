"""Every bad value is refused with its reason, in one sentence, and nothing else happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from include import codecs, strict_json
from include.definition.kinds import KINDS
from include.refusal import REASONS
from tests.support.assertions import assert_readable
from tests.support.corpus import BAD_VALUES
from tests.support.no_warnings import no_warnings

pytestmark = no_warnings


@pytest.mark.parametrize("bad", BAD_VALUES, ids=lambda bad: bad.name)
def test_a_bad_value_is_refused_with_its_reason(bad):
    codec = KINDS["format"][bad.format["kind"]].model_validate(bad.format)

    decoded = codec.decode([bad.value])

    (refusal,) = decoded.refusals.values()
    assert refusal.reason == bad.reason, refusal
    assert decoded.samples.shape == (0, *codec.sample_shape)
    assert_readable(ValueError(refusal.error))
    assert refusal.error.encode(), "the header of a dead letter"


def test_every_reason_of_a_codec_has_a_bad_value():
    files = [*Path(codecs.__file__).parent.glob("*.py"), Path(strict_json.__file__)]
    sources = "".join(file.read_text(encoding="utf-8") for file in files)
    assert {bad.reason for bad in BAD_VALUES} == {reason for reason in REASONS if f'"{reason}"' in sources}


def test_every_bad_value_has_a_name_of_its_own():
    assert len({bad.name for bad in BAD_VALUES}) == len(BAD_VALUES)
