"""One attempt at one step of a pipeline: its run, the ids that it writes under, and when it has to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from include.errors import Stopped
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.progress import progress_entry, progress_scope, reaches_further
from include.exactly_once.transaction import TransactionalWriter, record_limits
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange
from include.metrics import Metrics

if TYPE_CHECKING:
    from confluent_kafka import Consumer


Item = TypeVar("Item")
# The steps that write to Kafka: docs/contracts/transactions.md has their transactional ids. A promotion and a rollback
# write as `train` does, see `include.registry.record.model_writer`.
Step = Literal["ingest", "ingest-plan", "train", "predict", "repredict", "replay", "export", "watch", "repair"]

# Opening a writer waits for the transaction coordinator, so several are opened at once, and the ledger is read once for
# them. Each has a thread and a connection per broker and two more, so a topic's hundreds of partitions take turns.
WRITERS_AT_ONCE = 16


def transactional_id(environment: str, pipeline: str, step: Step, *scope: object) -> str:
    """The id of the producer that writes a scope, a batch or a partition for instance; it fences earlier owners."""
    return ".".join((environment, pipeline, step, *map(str, scope)))


def consumer_group(environment: str, pipeline: str, *purpose: str) -> str:
    """The group of the consumers that read for a step, or for a part of one; its name fences nobody."""
    return ".".join((environment, pipeline, *purpose))


@dataclass(frozen=True)
class Attempt:
    """One try of one run at one step of a pipeline.

    An id contains no try number, host or number of workers. So any retry, however the work is divided, has the ids of
    the attempt that it replaces, and fences it.

    Args:
        pipeline: the pipeline's name.
        run: the run's id, which ledger entries and dead letters keep.
        stopped: polled between chunks and before each commit; True ends the attempt with `Stopped`.
        metrics: where counts and gauges go.
        accept_lost: go on although retention has removed records that were never processed.
    """

    connection: KafkaConnection
    pipeline: str
    step: Step
    run: str
    stopped: Callable[[], bool] = lambda: False
    metrics: Metrics = field(default_factory=Metrics)
    accept_lost: bool = False

    def transactional_id(self, *scope: object) -> str:
        """The id that the step writes a scope under; docs/contracts/transactions.md has those of every step."""
        return transactional_id(self.connection.environment, self.pipeline, self.step, *scope)

    def group(self, *purpose: str) -> str:
        """The consumer group of the step, or of a part of it."""
        return consumer_group(self.connection.environment, self.pipeline, self.step, *purpose)

    def key(self, scope: str) -> LedgerKey:
        return LedgerKey(self.connection.environment, self.pipeline, self.step, scope)

    def require(self, pipeline: str, step: Step) -> None:
        """Refuse to write under the ids and ledger keys of another step, which would publish everything again.

        Raises:
            ValueError: this attempt is for another step, or for another pipeline.
        """
        if (self.pipeline, self.step) != (pipeline, step):
            raise ValueError(
                f"The attempt is for step {self.step} of pipeline {self.pipeline}, and step {step} of {pipeline} "
                "was called: make an Attempt with that step and pipeline."
            )

    def check_stop(self, progress: str) -> None:
        """End the attempt where it was asked to stop.

        Args:
            progress: what it has done, as the end of "Stopped after ...".

        Raises:
            Stopped: it was asked to.
        """
        if self.stopped():
            raise Stopped(f"Stopped after {progress}; the next attempt does the rest.")

    def consumer(self, **settings: Any) -> AbstractContextManager[Consumer]:
        """A consumer in the step's group; see `KafkaConnection.consumer`."""
        return self.connection.consumer(self.group(), **settings)

    def writer(self, *scope: object, topics: Iterable[str] = ()) -> TransactionalWriter:
        """The writer of one scope. When a block with it begins, every earlier owner of the scope is fenced.

        Args:
            topics: see `TransactionalWriter`.
        """
        name = self.transactional_id(*scope)
        return TransactionalWriter(self.connection, name, topics=topics, stopped=self.stopped)

    @contextmanager
    def writers(
        self, scopes: Sequence[tuple[object, ...]], *, topics: Sequence[str] = ()
    ) -> Iterator[list[TransactionalWriter]]:
        """The writers of several scopes, in their order. When the block begins, every earlier owner of each is fenced.

        Args:
            scopes: at most `WRITERS_AT_ONCE`, since all of them stay open.
            topics: see `TransactionalWriter`.
        """
        limits = record_limits(self.connection, topics)
        writers = [
            TransactionalWriter(self.connection, name, topics=topics, limits=limits, stopped=self.stopped)
            for name in (self.transactional_id(*scope) for scope in scopes)
        ]
        with ExitStack() as stack:
            with ThreadPoolExecutor(WRITERS_AT_ONCE, thread_name_prefix="writer") as pool:
                entering = [pool.submit(stack.enter_context, writer) for writer in writers]
            yield [entered.result() for entered in entering]

    def read_progress(self, writer: TransactionalWriter, ranges: Iterable[OffsetRange]) -> dict[int, Mapping[str, Any]]:
        """The entries of the step's progress by partition, for the partitions that have one.

        Args:
            writer: the one that owns these partitions.
        """
        keys = {item.partition: self.key(progress_scope(item)) for item in ranges}
        entries = writer.read_ledger(keys.values())
        return {partition: entries[key] for partition, key in keys.items() if key in entries}

    def record_progress(self, ranges: Iterable[OffsetRange]) -> None:
        """Record in one transaction that the step has processed ranges whose results lie outside Kafka.

        No position goes back: an older run that is cleared may end after a newer one.
        """
        keys = {self.key(progress_scope(item)): item for item in ranges}
        with self.writer() as writer:
            entries = writer.read_ledger(keys)
            further = {key for key, entry in entries.items() if reaches_further(self.connection, keys[key], entry)}
            with writer.transaction():
                for key, item in keys.items():
                    if key not in further:
                        writer.write_ledger(key, progress_entry(item, item.end, self.run))

    def fence(self, scopes: Sequence[tuple[object, ...]]) -> None:
        """Fence every earlier owner of the scopes.

        A transaction that a killed attempt has left open in one scope hides the ledger from the readers of all others,
        until the broker aborts it after its timeout.
        """
        for window in windows(scopes):
            with self.writers(window):
                pass


def windows(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items in parts of at most `WRITERS_AT_ONCE`."""
    for start in range(0, len(items), WRITERS_AT_ONCE):
        yield items[start : start + WRITERS_AT_ONCE]
