"""The two families of errors: a retry can help, or it cannot."""


class MillraceError(Exception):
    """A failure that a retry may cure; its text is one sentence for a person, in which nothing acts on a terminal."""

    def __str__(self) -> str:
        return "\n".join(map(printable, super().__str__().split("\n")))


class PermanentError(MillraceError):
    """A failure that no retry cures: a person has to change something first."""


class Stopped(MillraceError):
    """The step stopped on request at a safe point; the next attempt continues from there."""


class NothingToDo(MillraceError):
    """There is no work for this step; the text says what is missing."""


def printable(text: str) -> str:
    """The text with backslash escapes for line breaks, control characters, marks of direction and lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def amount(number: int, one: str, many: str = "") -> str:
    """A number of things: `1 row`, `1,234 rows`; `many` for what is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def one_line(error: BaseException) -> str:
    """The type of a library's error and the first 500 characters of its text, in one line."""
    text = printable(" ".join(str(error)[:500].split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
