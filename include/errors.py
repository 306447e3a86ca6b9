"""The two families of refusals, told apart by whether a retry can help."""

from __future__ import annotations


class MillraceError(Exception):
    """Something failed that may go better at the next attempt; its text is one sentence for a person."""


class PermanentError(MillraceError):
    """A refusal that a retry cannot mend: somebody has to change something first."""


class Stopped(MillraceError):
    """The step was asked to stop and did so at a safe point; the next attempt goes on from there."""


class NothingToDo(MillraceError):
    """There is no work for this step; the text says what it waits for."""
