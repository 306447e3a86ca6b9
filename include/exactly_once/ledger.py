"""The ledger: what each step has done, written in the same transaction as its results."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from include.kafka.records import OutgoingRecord
from include.kafka.topics import TopicSpec

LEDGER_TOPIC = "millrace.ledger"
PARTITIONS = 8


@dataclass(frozen=True)
class LedgerKey:
    """What an entry is about: a step of a pipeline, and one scope of it (a batch, or a topic's partition)."""

    environment: str
    pipeline: str
    step: str
    scope: str

    def encode(self) -> bytes:
        return "/".join((self.environment, self.pipeline, self.step, self.scope)).encode()

    @property
    def partition(self) -> int:
        """Computed here and not by a client's partitioner, so that every reader knows which partition has the entry."""
        return zlib.crc32(self.encode()) % PARTITIONS


def ledger_topic(replication: int = 1) -> TopicSpec:
    """The ledger's topic: compacted, so that it keeps the last entry of every key for ever."""
    return TopicSpec(
        LEDGER_TOPIC,
        partitions=PARTITIONS,
        replication=replication,
        config={
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.1",
            "segment.bytes": str(16 * 1024 * 1024),
        },
    )


def ledger_record(key: LedgerKey, entry: Mapping[str, Any]) -> OutgoingRecord:
    """The record of an entry.

    Raises:
        ValueError: the entry is not JSON.
    """
    value = json.dumps(entry, sort_keys=True, allow_nan=False).encode()
    return OutgoingRecord(LEDGER_TOPIC, key.encode(), value, partition=key.partition)
