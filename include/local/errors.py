"""Refusals of the local stack."""

from __future__ import annotations

from include.errors import MillraceError


class StackError(MillraceError):
    """The local stack could not be started, has ended, or cannot be reached; the text says what to do."""
