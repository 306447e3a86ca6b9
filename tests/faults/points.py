"""Named points of a step at which its process sends an event and waits to be killed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from include.artifact.result import RESULT
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.records import OutgoingRecord
from include.training.loop import CHECKPOINTS

TransactionPoint = Literal[
    "before begin",
    "after begin",
    "before produce",
    "after produce",
    "before ledger",
    "after ledger",
    "before commit",
    "during commit",
    "after commit",
]
TrainingPoint = Literal[
    "before checkpoint rename",
    "after checkpoint rename",
    "before result rename",
    "after result rename",
]
ExportPoint = Literal["before parquet rename", "after parquet rename"]
Point = TransactionPoint | TrainingPoint | ExportPoint

WAKE = signal.SIGUSR1
FLUSH_S = 60


def halt_at(point: str, number: int, send: Callable[[], None]) -> None:
    """Make this process call `send` and halt when it reaches a point, until it gets the signal `WAKE`.

    At `during commit` it halts after the commit, so that the kill comes during the commit or right after it.

    Args:
        number: of the transaction of this process, or of the rename of this kind, counted from 1.
    """

    woken = threading.Event()

    def halt(meanwhile: Callable[[], None] = lambda: None) -> None:
        signal.signal(WAKE, lambda *_: woken.set())
        send()
        meanwhile()
        woken.wait()

    if point.endswith("rename"):
        _halt_at_rename(point, number, halt)
    else:
        _halt_in_transaction(point, number, halt)


def _halt_in_transaction(point: str, number: int, halt: Callable[..., None]) -> None:
    transaction, produce = TransactionalWriter.transaction, TransactionalWriter.produce
    write_ledger, commit = TransactionalWriter.write_ledger, TransactionalWriter._commit
    begun, produced = 0, False

    def reached(name: str, writer: TransactionalWriter, *meanwhile: Callable[[], None]) -> bool:
        here = name == point and begun == number
        if here:
            # Before the flush the records may be in this process only, and its death would prove nothing.
            writer._producer.flush(FLUSH_S)
            halt(*meanwhile)
        return here

    @contextmanager
    def halting_transaction(writer: TransactionalWriter) -> Iterator[None]:
        nonlocal begun, produced
        begun, produced = begun + 1, False
        reached("before begin", writer)
        with transaction(writer):
            reached("after begin", writer)
            yield

    def halting_produce(writer: TransactionalWriter, outgoing: OutgoingRecord) -> None:
        nonlocal produced
        first, produced = not produced, True
        if first:
            reached("before produce", writer)
        produce(writer, outgoing)
        if first:
            reached("after produce", writer)

    def halting_write_ledger(writer: TransactionalWriter, key: LedgerKey, entry: Mapping[str, Any]) -> None:
        reached("before ledger", writer)
        write_ledger(writer, key, entry)
        reached("after ledger", writer)

    def halting_commit(writer: TransactionalWriter) -> None:
        reached("before commit", writer)
        if not reached("during commit", writer, lambda: commit(writer)):
            commit(writer)
        reached("after commit", writer)

    TransactionalWriter.transaction = halting_transaction  # type: ignore[method-assign, assignment]
    TransactionalWriter.produce = halting_produce  # type: ignore[method-assign, assignment]
    TransactionalWriter._commit = halting_commit  # type: ignore[method-assign, assignment]
    TransactionalWriter.write_ledger = halting_write_ledger  # type: ignore[method-assign, assignment]


def _halt_at_rename(point: str, number: int, halt: Callable[[], None]) -> None:
    rename = Path.rename
    when, kind, _ = point.split()
    renamed = 0

    def halting_rename(path: Path, target: Path) -> Path:
        nonlocal renamed
        named = target.suffix.removeprefix(".") or target.name
        if kind != {CHECKPOINTS: "checkpoint"}.get(target.parent.name, named):
            return rename(path, target)
        renamed += 1
        if renamed == number and when == "before":
            halt()
        moved = rename(path, target)
        if renamed == number and when == "after":
            halt()
        return moved

    assert RESULT == "result", "the name of the point"
    Path.rename = halting_rename  # type: ignore[method-assign, assignment]
