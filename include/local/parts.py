"""The stack's parts: processes that are started again when they end, ever later if they end soon."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from include.errors import MillraceError, one_line
from include.local.stack_file import Ending

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 60.0
# A part that ran for this long is started again after the shortest pause.
STEADY_S = 60.0


@dataclass
class Part:
    """A process, by what it takes to keep it running.

    Attributes:
        start: starts it, and does not wait until it is ready.
        exit_status: its exit status (negative: a signal), None while it runs.
        log_tail: the end of its log.
        ending: its last end.
    """

    name: str
    start: Callable[[], None]
    exit_status: Callable[[], int | None]
    log_tail: Callable[[], str]
    clock: Callable[[], float] = time.monotonic
    ending: Ending | None = None
    _pause_s: float = FIRST_PAUSE_S
    _due: float | None = None
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def keep(self) -> Ending | None:
        """Start it again if it has ended and its pause is over; return its ending if anything has changed."""
        now = self.clock()
        if self._due is None:
            if (status := self.exit_status()) is None:
                return None
            if now - self._started >= STEADY_S:
                self._pause_s = FIRST_PAUSE_S
            self._note_end(how_ended(status), self.log_tail())
        elif now < self._due:
            return None
        else:
            self._start_again()
        return self.ending

    def _start_again(self) -> None:
        try:
            self.start()
        except (MillraceError, OSError) as error:
            self._note_end("could not be started", one_line(error))
            return
        self._started, self._due = self.clock(), None
        if self.ending is not None:
            self.ending.again = datetime.now(UTC)

    def _note_end(self, how: str, log: str) -> None:
        times = 1 if self.ending is None else self.ending.times + 1
        self.ending = Ending(at=datetime.now(UTC), how=how, log=log, times=times)
        self._due = self.clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)


def how_ended(status: int) -> str:
    """An exit status in words; a negative one is a signal's number."""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
