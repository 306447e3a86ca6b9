"""Independent consumers of a topic: one reads during the faults, one counts afterwards."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from types import TracebackType
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from include.kafka.connection import KafkaConnection
from include.kafka.dead_letters import ADDRESS
from tests.support.consumers import committed_records

POLL_S = 0.2
# A consumer may lag on a loaded machine, and reconnects up to ten seconds after a broker is back.
CATCH_UP_S = 180.0

# Identifies a record among all records of its topic.
Identity = Callable[[Message], str]


def key_of(message: Message) -> str:
    """The identity of a sample or a request: its key."""
    return (message.key() or b"").decode("utf-8", "backslashreplace")


def request_of(message: Message) -> str:
    """The identity of a prediction or a dead letter: the address of its request."""
    header = dict(message.headers() or []).get(ADDRESS)
    if header is not None:
        return bytes(header).decode()
    value = json.loads(message.value() or b"{}")
    return "/".join(str(value[name]) for name in ("topic", "partition", "offset"))


class Witness:
    """A read_committed consumer that reads topics from their first record in a thread, until the block ends.

    It keeps every record that it got: other applications would have acted on a record that disappeared later, or that
    came with two offsets.

    Args:
        topics: existing topics, each with the identity of its records.
    """

    def __init__(self, kafka: KafkaConnection, topics: Mapping[str, Identity]) -> None:
        self._kafka = kafka
        self._topics = topics
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="witness", daemon=True)
        self._offsets: dict[str, dict[str, set[tuple[int, int]]]] = {topic: {} for topic in topics}
        self._failure: BaseException | None = None

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None and value is None:
            raise self._failure

    def seen(self, topic: str) -> Counter[str]:
        """How many records of each identity it got, counted by offset."""
        return Counter({name: len(places) for name, places in list(self._offsets[topic].items())})

    def verdict(self, expected: Mapping[tuple[str, ...], Collection[str]]) -> tuple[int, int]:
        """How many records are lost and how many duplicated, by this witness and by a count that starts now.

        Args:
            expected: the identities that should be there exactly once, for each group of topics that share them.
        """
        lost = duplicated = 0
        for topics, wanted in expected.items():
            counted = sum((count(self._kafka, topic, self._topics[topic]) for topic in topics), Counter[str]())
            deadline = time.monotonic() + CATCH_UP_S
            while (seen := self._seen(topics)).keys() != counted.keys() and time.monotonic() < deadline:
                time.sleep(POLL_S)
            # A record that the witness did not get in time counts as lost too.
            missing, extra = lost_and_duplicated(wanted, counted & seen, counted, seen)
            lost, duplicated = lost + missing, duplicated + extra
        return lost, duplicated

    def _seen(self, topics: Iterable[str]) -> Counter[str]:
        return sum((self.seen(topic) for topic in topics), Counter[str]())

    def _watch(self) -> None:
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001 - raised when the block ends
            self._failure = error

    def _read(self) -> None:
        consumer = Consumer(
            {
                **self._kafka.settings,
                "group.id": "witness",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "error_cb": _ignore_lost_brokers,
                "log_level": 0,
            }
        )
        try:
            consumer.assign(
                [
                    TopicPartition(topic, partition, 0)
                    for topic in self._topics
                    for partition in consumer.list_topics(topic, timeout=30).topics[topic].partitions
                ]
            )
            while not self._stop.is_set():
                message = consumer.poll(POLL_S)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    topic = str(message.topic())
                    place = (message.partition() or 0, message.offset() or 0)
                    self._offsets[topic].setdefault(self._topics[topic](message), set()).add(place)
                elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                    raise AssertionError(f"the offset of the witness is out of range: {error.str()}")
        finally:
            consumer.close()


def count(kafka: KafkaConnection, topic: str, identity: Identity) -> Counter[str]:
    """How often each identity is in the topic, for a read_committed consumer that starts now."""
    return Counter(identity(message) for message in committed_records(kafka, topic))


def lost_and_duplicated(expected: Iterable[str], *counts: Mapping[str, int]) -> tuple[int, int]:
    """How many of `expected` the first count lacks, and how many records a count has more than once.

    A record that was not expected counts as duplicated.
    """
    wanted = set(expected)
    lost = sum(1 for name in wanted if not counts[0].get(name))
    extra = {name for found in counts for name, times in found.items() if times > 1 or (times and name not in wanted)}
    return lost, len(extra)


def _ignore_lost_brokers(_error: Any) -> None:
    """Brokers are killed on purpose, so their errors say nothing about the records."""
