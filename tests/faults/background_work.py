"""A step that works through its pieces in the background while faults are inflicted."""

from __future__ import annotations

import threading
import time
from random import Random

from tests.faults.attempts import succeed
from tests.faults.workloads import Work
from tests.support.attempts import Workers

# Within it every piece has to end: four attempts and 70 s of pauses between them, on a machine that does much else.
PIECE_TIMEOUT_S = 900.0


class BackgroundWork:
    """A thread that works through the pieces of one workload.

    Attributes:
        finished: monotonic times at which pieces were finished.
        retried: error messages of attempts that a retry followed.
    """

    def __init__(self, workers: Workers, work: Work, draws: Random) -> None:
        self.work = work
        self.finished: list[float] = []
        self.retried: list[str] = []
        self._workers, self._draws = workers, draws
        self._stop = threading.Event()
        self._failure: BaseException | None = None

    def begin(self) -> None:
        """Start with the next piece."""
        self._stop.clear()
        # A daemon thread, so that an interrupted suite does not wait for a step that waits for a broker.
        self._thread = threading.Thread(target=self._go_on, name=self.work.name, daemon=True)
        self._thread.start()

    def _go_on(self) -> None:
        try:
            while not self._stop.is_set():
                self.retried += succeed(self._workers, self.work.jobs(len(self.finished), self._draws))
                self.finished.append(time.monotonic())
        except BaseException as error:  # noqa: BLE001 - `finishes` and `end` raise it
            self._failure = error

    def finishes(self, pieces: int) -> bool:
        """Whether so many pieces are finished; raises the error that ended the thread."""
        if self._failure is not None:
            raise self._failure
        return len(self.finished) >= pieces

    def end(self) -> None:
        """Wait until the current piece is finished, and stop."""
        self._stop.set()
        self._thread.join(PIECE_TIMEOUT_S)
        assert not self._thread.is_alive(), f"{self.work.name} did not end within {PIECE_TIMEOUT_S:g} s"
        self.finishes(0)
