"""How commands speak: sentences, progress and errors on standard error, since scripts read standard output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.text import Text

from include.errors import MillraceError, PermanentError

FAILED = 1


class CommandRefused(PermanentError):
    """The command can't do what its arguments ask for."""


def say(sentence: str) -> None:
    _stderr().print(sentence, markup=False, highlight=False)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print an error of Millrace's as its sentence, without a traceback, and exit with status 1."""
    try:
        yield
    except MillraceError as error:
        _stderr().print(Text(str(error), style="red"))
        raise typer.Exit(FAILED) from error


@contextmanager
def show_steps(first: str) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the current step: by a spinner on a terminal, as a line elsewhere.

    Args:
        first: what the spinner says until the first step begins.
    """
    console = _stderr()
    if not console.is_terminal:
        yield say
        return
    with console.status(first) as spinner:
        yield lambda step: spinner.update(Text(step))


def _stderr() -> Console:
    # Made for each use, because tests replace sys.stderr. Soft wrap leaves long lines to the terminal.
    return Console(stderr=True, soft_wrap=True)
