"""What an envelope is: it says where a record has its sample, and never raises for a record that has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from include.kinds import Config

# The reason codes of all envelopes; see `include.codecs.base.REASONS`, whose codes they use where those fit.
REASONS = {
    "field-too-long": "an id, group or label of more bytes than are read of one",
}

LONGEST_FIELD_BYTES = 1024


class Opened(NamedTuple):
    """What an envelope holds; None for what it does not say."""

    content: bytes | None
    id: bytes | None = None
    group: bytes | None = None
    label: str | None = None


# Raises include.codecs.base.Unfit for a value that is no such envelope, and MillraceError where a retry may help.
Open = Callable[[bytes | None], Opened]


class Envelope(Config):
    """Settings of an `[envelope]` table."""

    kind: str

    @property
    def own_headers(self) -> bool:
        """Whether records have Millrace's headers `schema` and `group`."""
        return False

    @property
    def has_fields(self) -> bool:
        """Whether a label can be one of its fields."""
        return False

    def open_with(self, label: str | None) -> Open | None:  # noqa: ARG002
        """What opens the values of records; None where a value is the content as it stands.

        Args:
            label: the field that has the label, where one has it.
        """
        return None
