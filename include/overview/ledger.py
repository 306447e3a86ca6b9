"""The ledger's newest entries as they are now, read on from where the last look at them ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.exactly_once.ledger import LedgerKey, parse_entry, parse_key, partition_of
from include.kafka.connection import KafkaConnection
from include.kafka.errors import LedgerDamaged
from include.kafka.ranges import LogHistory, OffsetRange
from include.kafka.reader import read_range

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.kafka.signing import SigningKeys

# The steps whose entries a person sees.
STEPS = frozenset({"train", "predict", "model", "rollback", "approval", "watch", "shadow"})
# A replay has an entry for each dead letter. Of these only the keys are kept, the newest ones of each pipeline.
REPLAY = "replay"
KEPT_REPLAYS = 20_000


@dataclass(frozen=True)
class DatedEntry:
    """An entry of the ledger.

    Attributes:
        fields: None where it is damaged.
        at_ms: when it was written, in milliseconds since 1970.
        damage: why a step would refuse it; empty for a good one.
    """

    key: LedgerKey
    fields: dict[str, Any] | None
    at_ms: int
    damage: str = ""


class LedgerView:
    """The newest entries of the steps that a person sees, of all pipelines of an environment.

    What is committed is read, and no open transaction is waited for: this decides nothing, and may be old by the length
    of a transaction.
    """

    def __init__(self) -> None:
        self._topic_id = ""
        self._next: dict[int, int] = {}
        self._newest: dict[bytes, Message] = {}
        self._replayed: dict[str, dict[str, None]] = {}

    def read_on(self, connection: KafkaConnection, group: str, ledger: LogHistory) -> None:
        """Take in what was written since the last call.

        Raises:
            ReaderStalled, LogTruncated, BrokerUnavailable, AccessDenied: see include.kafka.
        """
        ends = {item.partition: item.end for item in ledger.ranges}
        if ledger.topic_id != self._topic_id or any(end < self._next.get(part, 0) for part, end in ends.items()):
            self._topic_id, self._next, self._newest, self._replayed = ledger.topic_id, {}, {}, {}
        # Compaction removes no key's newest record, so nothing is missed where the log begins later by now.
        wanted = [
            OffsetRange(item.topic, item.topic_id, item.partition, start, item.end)
            for item in ledger.ranges
            if (start := max(item.start, self._next.get(item.partition, 0))) < item.end
        ]
        if not wanted:
            return
        with connection.consumer(group) as consumer:
            for item in wanted:
                for messages in read_range(connection, consumer, item):
                    self._take(connection.environment, messages)
                self._next[item.partition] = item.end

    def _take(self, environment: str, messages: Sequence[Message]) -> None:
        for message in messages:
            raw = message.key() or b""
            key = parse_key(raw)
            # No step writes a key to another partition.
            if key.environment != environment or partition_of(raw) != message.partition():
                continue
            if key.step == REPLAY:
                self._take_replayed(key, deleted=message.value() is None)
            elif key.step not in STEPS:
                continue
            elif message.value() is None:
                self._newest.pop(raw, None)
            else:
                self._newest[raw] = message

    def _take_replayed(self, key: LedgerKey, *, deleted: bool) -> None:
        letters = self._replayed.setdefault(key.pipeline, {})
        letters.pop(key.scope, None)
        if not deleted:
            letters[key.scope] = None
        if len(letters) > KEPT_REPLAYS:
            del letters[next(iter(letters))]

    def replayed(self, pipeline: str) -> frozenset[str]:
        """The newest dead letters that were replayed, as `<topic's id>/<topic>/<partition>/<offset>`."""
        return frozenset(self._replayed.get(pipeline, ()))

    def entries(self, pipeline: str, step: str, signing: SigningKeys | None) -> Iterator[DatedEntry]:
        """The entries of a pipeline's step.

        Args:
            signing: the keys, where the pipeline's records are signed.
        """
        for raw, message in self._newest.items():
            key = parse_key(raw)
            if (key.pipeline, key.step) == (pipeline, step):
                at_ms = message.timestamp()[1]
                try:
                    yield DatedEntry(key, parse_entry(message, signing), at_ms)
                except LedgerDamaged as error:
                    yield DatedEntry(key, None, at_ms, str(error))
