"""Errors of the local stack, of the embedded broker, and of the ports that they share."""

from include.errors import MillraceError


class StackError(MillraceError):
    """The local stack could not be started, has ended, or cannot be reached; the text says what to do."""


class BrokerError(MillraceError):
    """The embedded broker cannot do what was asked; the text says what, why and what to do."""


class PortUnavailable(MillraceError):
    """A port that was asked for does not exist or is in use, or no free port was found."""
