"""The one error that the embedded broker raises."""

from __future__ import annotations

from include.errors import MillraceError


class BrokerError(MillraceError):
    """The embedded broker cannot do what was asked; the text says what, why and what to do."""
