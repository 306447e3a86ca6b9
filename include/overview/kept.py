"""Values that are read in the background and kept for a moment, so that nobody waits for a broker to show a page."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from cachetools import TTLCache

from include.errors import MillraceError, PermanentError, one_line

log = logging.getLogger(__name__)

T = TypeVar("T")

# What is refused is asked for ever more rarely: a login that is refused every few seconds would lock its account.
MAX_PAUSE_S = 300.0
# Who asks for a value and gets an old one answers first: threads that read at the same time would hold the answer up.
HEAD_START_S = 0.05
# What nobody has asked for so long is not shown any more: a page opened in the morning would show the evening before.
MOST_AGE_S = 30.0
# Of an `AnswerCache`: values that are kept, readings at work, and how long one more waits for its turn, in seconds.
MOST_ANSWERS = 64
AT_ONCE = 4
PATIENCE_S = 5.0


@dataclass(frozen=True)
class LastValue(Generic[T]):
    """The last value, and what has become of the attempt after it.

    Attributes:
        value: None until an attempt has succeeded.
        at: when the value was read, in seconds since 1970.
        error: why the last attempt has failed, as a sentence; empty if it has not.
        kind: the type of that error.
    """

    value: T | None = None
    at: float = 0.0
    error: str = ""
    kind: type[Exception] | None = None

    @property
    def pending(self) -> bool:
        """Whether an attempt is awaited."""
        return self.value is None and not self.error


class BackgroundValue(Generic[T]):
    """A value that is read again, in a thread of its own, when somebody asks for it and it is no longer fresh.

    Nothing is read while nobody asks. The threads are made where they are needed, since Kafka's client does not survive
    a fork.

    Args:
        name: of the threads.
        read: reads the value; it may take long and may raise any error.
        fresh_s: for how many seconds a value, or a failure, is not read again.
    """

    def __init__(self, name: str, read: Callable[[], T], fresh_s: float) -> None:
        self._name, self._read, self._fresh_s = name, read, fresh_s
        self._lock = threading.Lock()
        self._reading: LastValue[T] = LastValue()
        self._due = self._read_at = float("-inf")
        self._pause_s = fresh_s
        self._thread: threading.Thread | None = None

    def get(self) -> LastValue[T]:
        """What is known now, at once; a value that is no longer fresh is read again meanwhile.

        One of `MOST_AGE_S` is as unknown as before the first attempt, unless attempts fail since.
        """
        with self._lock:
            if time.monotonic() >= self._due and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._renew, name=f"millrace-{self._name}", daemon=True)
                self._thread.start()
            return self._known()

    def wait(self, timeout_s: float) -> LastValue[T]:
        """The same, but wait for an attempt that is at work to end, at most for so many seconds."""
        self.get()
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return self._known()

    def _known(self) -> LastValue[T]:
        reading = self._reading
        old = time.monotonic() - self._read_at > max(MOST_AGE_S, self._fresh_s)
        return LastValue() if old and not reading.error else reading

    def _renew(self) -> None:
        if self._reading.value is not None:
            time.sleep(HEAD_START_S)
        pause_s = self._fresh_s
        try:
            reading = LastValue(self._read(), time.time())
            self._read_at = time.monotonic()
        except PermanentError as error:
            reading = replace(self._reading, error=str(error), kind=type(error))
            pause_s = min(max(2 * self._pause_s, self._fresh_s), MAX_PAUSE_S)
        except MillraceError as error:
            reading = replace(self._reading, error=str(error), kind=type(error))
        except Exception as error:
            log.exception("%s could not be read", self._name)
            reading = replace(self._reading, error=f"It could not be read ({one_line(error)}): see the server's log.")
        with self._lock:
            self._reading, self._pause_s = reading, pause_s
            self._due = time.monotonic() + pause_s


class RangeCache(Generic[T]):
    """What was found in ranges of offsets, which never changes; only what the last two readings needed is kept."""

    def __init__(self) -> None:
        self._last: dict[Hashable, T] = {}
        self._new: dict[Hashable, T] = {}

    def begin(self) -> None:
        """Forget what the reading before the last one needed."""
        self._last, self._new = self._new, {}

    def get(self, ranges: Hashable, find: Callable[[], T]) -> T:
        if ranges not in self._new:
            self._new[ranges] = self._last[ranges] if ranges in self._last else find()
        return self._new[ranges]


class Busy(MillraceError):
    """As many readings as allowed are at work."""


class AnswerCache(Generic[T]):
    """What was read a moment ago for the same question, so that many who ask at once cost one reading.

    Args:
        fresh_s: for how many seconds a value is given again.
    """

    def __init__(self, fresh_s: float) -> None:
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._values: TTLCache[Hashable, tuple[T]] = TTLCache(MOST_ANSWERS, fresh_s)

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """The value of a question, read by the caller's thread if nobody did a moment ago.

        Raises:
            Busy: too many others read now.
        """
        if (found := self._find(key)) is not None:
            return found[0]
        if not self._turns.acquire(timeout=PATIENCE_S):
            raise Busy("Too many records are being read for others now: try again in a moment.")
        try:
            if (found := self._find(key)) is None:
                found = (read(),)
                with self._lock:
                    self._values[key] = found
        finally:
            self._turns.release()
        return found[0]

    def _find(self, key: Hashable) -> tuple[T] | None:
        with self._lock:
            return self._values.get(key)
