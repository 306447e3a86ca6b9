"""What every envelope owes whatever is in a topic: it is opened, or refused with a reason code that is documented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.codecs.base import REASONS as CODEC_REASONS
from include.codecs.base import Unfit
from include.envelopes.base import REASONS

if TYPE_CHECKING:
    from include.envelopes.base import Open


def assert_opened_or_refused(opening: Open, value: bytes) -> None:
    try:
        found = opening(value)
    except Unfit as unfit:
        reason = unfit.reason
    else:
        assert isinstance(found.content, bytes)
        return
    assert reason in {*REASONS, *CODEC_REASONS}
