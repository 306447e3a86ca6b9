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


def one_line(error: BaseException) -> str:
    """The type of a library's error and the first 500 characters of its text, in one line."""
    text = " ".join(str(error)[:500].split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
