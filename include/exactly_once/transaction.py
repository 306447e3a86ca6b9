"""The transactional writer: results, ledger and offsets become visible together, or not at all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from include.errors import MillraceError, Stopped
from include.exactly_once import snapshot
from include.exactly_once.ledger import LedgerKey, ledger_name, ledger_record
from include.kafka.connection import KafkaConnection, group_of
from include.kafka.errors import (
    AccessDenied,
    BrokerUnavailable,
    Fenced,
    KafkaRefused,
    RecordTooLarge,
    TransactionFailed,
)
from include.kafka.records import OutgoingRecord
from include.kafka.rights import Right
from include.kafka.topics import may_write, topic_setting

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition


log = logging.getLogger(__name__)

BATCH_BYTES = 1_000_000
# How much longer than its own timeout a call may take before it is abandoned.
GRACE_S = 1.0


class TransactionalWriter:
    """One producer under one transactional id; entering it fences every earlier owner of that id.

    Args:
        transactional_id: see `include.exactly_once.attempt`, which makes it.
        topics: the topics to write to; their limits on a record's size become those of the producer's batches, because
            the broker applies the same limit to a batch. A topic that is not named should take batches of 1 MB.
        limits: those limits, where they are known already; see `record_limits`.
        transaction_timeout_s: seconds after which the broker aborts an open transaction.
        stopped: polled before each commit; True aborts instead.

    Raises, from any method:
        Stopped: `stopped` returned True; the open transaction is aborted.
        Fenced: a newer owner has taken over.
        TransactionFailed: aborted, or the outcome is unknown. The writer must not be used again.
        BrokerUnavailable, AccessDenied, TopicMissing: see `KafkaConnection.explain`.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        transactional_id: str,
        *,
        topics: Iterable[str] = (),
        limits: Mapping[str, int] | None = None,
        transaction_timeout_s: float = 60.0,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.connection = connection
        self.transactional_id = transactional_id
        self._topics = tuple(topics)
        self._transaction_timeout_s = transaction_timeout_s
        self._stopped = stopped
        self._limits = dict(limits or {})
        # The topic and error of the first record that was not delivered.
        self._failed: tuple[str, KafkaError] | None = None
        self._written: set[str] = set()

    def __enter__(self) -> TransactionalWriter:
        limits = [BATCH_BYTES, *(self.record_limit(topic) for topic in self._topics)]
        milliseconds = int(self._transaction_timeout_s * 1000)
        self._producer: Producer = self.connection.producer(
            **{
                "message.max.bytes": max(limits),
                "batch.size": min(limits),
                "transactional.id": self.transactional_id,
                "transaction.timeout.ms": milliseconds,
                "delivery.timeout.ms": milliseconds,
                # With sparse connections librdkafka waits for timers of up to 0.5 s before it connects to the
                # coordinator: `init_transactions` takes 0.1 s to 0.3 s with them and 0.02 s without.
                "enable.sparse.connections": False,
                "linger.ms": 5,
                "compression.type": "lz4",
                # A callback for each delivery would cost much, and the commit fails where a delivery is missing.
                "delivery.report.only.error": True,
                "on_delivery": self._on_delivery,
            }
        )
        with self._explained("taking over", Right("TransactionalId", self.transactional_id, "Write")):
            self._producer.init_transactions(self.connection.timeout_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Deleted, not closed: `close` would abort once more, without a timeout, wait for a broker that is away, and
        # raise in place of the exception that is on its way.
        del self._producer

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block produces, or abort all of it when the block raises."""
        with self._explained("beginning a transaction"):
            self._producer.begin_transaction()
        try:
            yield
            self._settle()
        except BaseException:
            self._abort()
            raise
        self._commit()

    def produce(self, record: OutgoingRecord) -> None:
        """Queue one record in the open transaction; it blocks while librdkafka's queue is full."""
        topic, key, value, headers, timestamp_ms, partition = record
        self._written.add(topic)
        deadline = 0.0
        while True:
            try:
                self._producer.produce(topic, value, key, partition, headers=list(headers), timestamp=timestamp_ms)
            except BufferError as error:
                deadline = deadline or time.monotonic() + self.connection.timeout_s
                if time.monotonic() > deadline:
                    raise TransactionFailed(
                        f"The queue of {self.transactional_id} did not drain within {self.connection.timeout_s:g} s: "
                        "the broker takes records too slowly; check it and try again."
                    ) from error
                self._serve_reports(0.05)
            # Imported only when something was raised: an import would cost time for every record.
            except _kafka_exception() as error:
                raise self._explain(error, f"producing to {topic}", Right("Topic", topic, "Write")) from error
            else:
                return

    def require_ledger(self) -> None:
        """Refuse, before work that ends with an entry in the ledger, a principal that may not write one.

        Raises:
            AccessDenied: with the right to grant.
            TopicMissing: there is no ledger.
        """
        from confluent_kafka import KafkaError

        topic = ledger_name(self.connection.environment)
        if not may_write(self.connection, topic):
            cause = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
            raise self.connection.denied_error(
                Right("Topic", topic, "Write"), f"opening {self.transactional_id}", cause
            )

    def read_ledger(self, keys: Iterable[LedgerKey]) -> dict[LedgerKey, dict[str, Any]]:
        """The last committed entry of each key that has one; an owner decides by these what to write.

        Entries of the scopes that this writer, or one opened with it, owns can no longer change: every earlier owner is
        fenced. For the errors see `include.exactly_once.snapshot.snapshot_ledger`.
        """
        return snapshot.snapshot_ledger(self.connection, keys)

    def read_ledger_below(self, below: LedgerKey) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """The committed entries of all scopes below one; see `include.exactly_once.snapshot.snapshot_ledger_below`."""
        return snapshot.snapshot_ledger_below(self.connection, below)

    def write_ledger(self, key: LedgerKey, entry: Mapping[str, Any] | None) -> None:
        """Add an entry to the open transaction; None deletes the key's."""
        self.produce(ledger_record(key, entry, self.connection.signing))

    def send_offsets(self, consumer: Consumer, offsets: list[TopicPartition]) -> None:
        """Commit group offsets with the transaction, so that Kafka's own tools show the lag."""
        timeout_s = self.connection.timeout_s
        send = partial(
            self._producer.send_offsets_to_transaction, offsets, consumer.consumer_group_metadata(), timeout_s
        )
        try:
            with self._explained("sending offsets", Right("Group", group_of(consumer), "Read")):
                # While a group has no coordinator, the client ignores its timeout (librdkafka issue 5456).
                _in_time(send, timeout_s + GRACE_S)
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"No Kafka broker at {self.connection.bootstrap_servers} took the group offsets of "
                f"{self.transactional_id} within {timeout_s:g} s: check that the cluster has a coordinator for the "
                "group; the next attempt reads the ledger and goes on from what was committed."
            ) from error

    def record_limit(self, topic: str) -> int:
        """See `record_limits`; a topic is asked once."""
        if topic not in self._limits:
            self._limits |= record_limits(self.connection, [topic])
        return self._limits[topic]

    def check_size(self, record: OutgoingRecord) -> None:
        """Refuse a record that the broker would refuse together with its whole transaction.

        Raises:
            RecordTooLarge: with the size, the limit and the setting to raise.
        """
        limit = self.record_limit(record.topic)
        if record.size_bound > limit:
            key = (record.key or b"")[:100]
            raise RecordTooLarge(
                f"A record of {record.size_bound} bytes (key {key!r}) is larger than the {limit} bytes that "
                f"{record.topic} takes: raise the topic's max.message.bytes or send smaller samples."
            )

    def _settle(self) -> None:
        """Wait for the deliveries here and not in the commit, so that a stop that comes meanwhile is noticed.

        A record that is not delivered in time makes the commit fail.
        """
        self._serve_reports(self._transaction_timeout_s, until_delivered=True)
        if self._stopped():
            raise Stopped(
                f"Stopped before the commit of a transaction of {self.transactional_id}, which is aborted; the next "
                "attempt goes on from the transaction before it."
            )

    def _commit(self) -> None:
        from confluent_kafka import KafkaException

        try:
            self._producer.commit_transaction(max(self.connection.timeout_s, self._transaction_timeout_s))
        except KafkaException as error:
            if error.args[0].txn_requires_abort():
                self._abort()
            raise self._explain(error, "committing") from error

    def _abort(self) -> None:
        from confluent_kafka import KafkaException

        try:
            self._producer.abort_transaction(self.connection.timeout_s)
        except KafkaException as error:
            # The next owner's init_transactions aborts it, at the latest the broker's timeout does.
            log.warning("Aborting a transaction of %s failed: %s", self.transactional_id, error.args[0].str())

    def _serve_reports(self, seconds: float, *, until_delivered: bool = False) -> None:
        """Serve the reports of deliveries.

        A fatal error (this producer was fenced, say) is raised by whichever call serves them, and by the bindings as a
        SystemError where several are due. The next call of the transaction raises it again.
        """
        from confluent_kafka import KafkaException

        with suppress(KafkaException, SystemError):
            (self._producer.flush if until_delivered else self._producer.poll)(seconds)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failed is None:
            self._failed = message.topic() or "", error

    @contextmanager
    def _explained(self, action: str, *rights: Right) -> Iterator[None]:
        from confluent_kafka import KafkaException

        try:
            yield
        except KafkaException as error:
            raise self._explain(error, action, *rights) from error

    def _explain(self, error: KafkaException, action: str, *rights: Right) -> Exception:
        """Turn an error into one of Millrace.

        Args:
            rights: those that the action needs.
        """
        from confluent_kafka import KafkaError

        cause = self._cause(error)
        if cause.code() in (
            KafkaError._FENCED,
            KafkaError.PRODUCER_FENCED,
            KafkaError.INVALID_PRODUCER_EPOCH,
            KafkaError.INVALID_PRODUCER_ID_MAPPING,
            KafkaError.TRANSACTION_COORDINATOR_FENCED,
        ):
            return Fenced(
                f"Another run has taken over {self.transactional_id} while this one was {action}, so this one stops "
                "and its open transaction is aborted: look for a second run of the same step."
            )
        if (denied := self._denied_write(cause)) is not None:
            return denied
        explained = self.connection.explain(error, f"{action} for {self.transactional_id}", rights=rights)
        # To librdkafka a missing right on a transactional id is fatal, like much that the next attempt corrects.
        if isinstance(explained, AccessDenied) or not (isinstance(explained, KafkaRefused) or cause.fatal()):
            return explained
        first_failure = ""
        if self._failed is not None:
            first_failure = f"; first failed delivery: {self._failed[0]}: {self._failed[1].str()}"
        return TransactionFailed(
            f"A transaction of {self.transactional_id} failed while {action} ({cause.str()}{first_failure}): the next "
            "attempt reads the ledger and goes on from what was committed."
        )

    def _cause(self, error: KafkaException) -> KafkaError:
        """The error of the transaction, where a call failed only because the transaction has failed before."""
        from confluent_kafka import KafkaError, KafkaException

        cause: KafkaError = error.args[0]
        if cause.code() in (KafkaError._FATAL, KafkaError._STATE):
            try:
                # A failed transaction refuses every call with its own error, and `produce` alone without it.
                self._producer.begin_transaction()
            except KafkaException as known:
                cause = known.args[0]
        return cause

    def _denied_write(self, cause: KafkaError) -> AccessDenied | None:
        """The error for a topic that this principal may not write to, if that may be the cause.

        The coordinator's refusal names no topic, and after it a call only fails because the transaction has failed.
        """
        from confluent_kafka import KafkaError

        self._serve_reports(0)
        if self._failed is not None and self._failed[1].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            cause = self._failed[1]
        elif cause.code() not in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._STATE):
            return None
        with suppress(MillraceError):
            for topic in sorted(self._written):
                if not may_write(self.connection, topic):
                    right = Right("Topic", topic, "Write")
                    return self.connection.denied_error(right, f"producing for {self.transactional_id}", cause)
        return None


def record_limits(connection: KafkaConnection, topics: Iterable[str]) -> dict[str, int]:
    """The largest record that each topic takes, in bytes (its `max.message.bytes`)."""
    return {topic: int(topic_setting(connection, topic, "max.message.bytes")) for topic in topics}


def _in_time(call: Callable[[], object], seconds: float) -> None:
    """Make a call in a thread, which is abandoned when the time is up and ends with the process at the latest.

    Raises:
        TimeoutError: the call goes on.
    """
    outcome: Future[None] = Future()

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    threading.Thread(target=run, name="kafka-call", daemon=True).start()
    outcome.result(seconds)


def _kafka_exception() -> type[KafkaException]:
    from confluent_kafka import KafkaException

    return KafkaException
