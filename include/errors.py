"""The two families of errors: a retry can help, or it cannot."""

from __future__ import annotations


class MillraceError(Exception):
    """A failure that a retry may cure; its text is one sentence for a person."""


class PermanentError(MillraceError):
    """A failure that no retry cures: a person has to change something first."""


class Stopped(MillraceError):
    """The step stopped on request at a safe point; the next attempt continues from there."""


class NothingToDo(MillraceError):
    """There is no work for this step; the text says what is missing."""


def one_line(error: BaseException) -> str:
    """The type of a library's error and the first 500 characters of its text, in one line."""
    text = " ".join(str(error)[:500].split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
