"""Records whose value is the content as it stands."""

from __future__ import annotations

from typing import Literal

from include.envelopes.base import Envelope


class OwnEnvelope(Envelope):
    """Millrace's own record: headers `schema` and `group`, and the id as key."""

    kind: Literal["millrace"] = "millrace"

    @property
    def own_headers(self) -> bool:
        return True


class BareEnvelope(Envelope):
    """Somebody else's record: no header is expected, and none but a label's is looked at."""

    kind: Literal["bare"] = "bare"
