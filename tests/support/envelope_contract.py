"""What every envelope owes whatever is in a topic: it is opened, or refused with a reason code that is documented."""

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
