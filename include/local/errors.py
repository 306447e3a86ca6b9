"""Errors of the local stack and of the ports that it shares with the embedded broker."""

from __future__ import annotations

from include.errors import MillraceError


class StackError(MillraceError):
    """The local stack could not be started, has ended, or cannot be reached; the text says what to do."""


class PortUnavailable(MillraceError):
    """A port that was asked for does not exist or is in use, or no free port was found."""
