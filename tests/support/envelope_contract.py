"""The contract of every envelope for any bytes: it opens them, or refuses them with a documented reason code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.refusal import InvalidRecord
from tests.support.assertions import assert_readable

if TYPE_CHECKING:
    from include.envelopes.base import Open


def assert_opened_or_refused(opening: Open, value: bytes) -> None:
    try:
        found = opening(value)
    except InvalidRecord as error:
        assert_readable(error)
    else:
        assert isinstance(found.content, bytes)
