"""Independent witnesses of a topic: one reads all the time while faults go on, one counts when they are over."""

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
# A reader may lag behind on a loaded machine, and reconnects up to ten seconds after a broker is back.
CATCH_UP_S = 180.0

# What tells a record apart from all others of its topic, whoever wrote it.
Identity = Callable[[Message], str]


def key_of(message: Message) -> str:
    """Samples and requests are told apart by their keys."""
    return (message.key() or b"").decode("utf-8", "backslashreplace")


def request_of(message: Message) -> str:
    """The address of the request that a prediction or a dead letter answers."""
    header = dict(message.headers() or []).get(ADDRESS)
    if header is not None:
        return bytes(header).decode()
    value = json.loads(message.value() or b"{}")
    return "/".join(str(value[name]) for name in ("topic", "partition", "offset", "index"))


class Witness:
    """A read_committed consumer in a thread of its own that reads topics from their first record for as long as the
    block lasts, through whatever happens to the brokers.

    It remembers every record that it was ever shown: one that is shown and later gone, or shown under two offsets,
    is what other applications would have acted upon.

    Args:
        topics: each with what tells its records apart; they exist already.
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
        """How many different records of each identity it was shown."""
        return Counter({name: len(places) for name, places in list(self._offsets[topic].items())})

    def verdict(self, expected: Mapping[tuple[str, ...], Collection[str]]) -> tuple[int, int]:
        """How many records are lost and how many duplicated, by this witness and by a count that begins now.

        Args:
            expected: what should be there exactly once, for each group of topics that share it.
        """
        lost = duplicated = 0
        for topics, wanted in expected.items():
            counted = sum((count(self._kafka, topic, self._topics[topic]) for topic in topics), Counter[str]())
            deadline = time.monotonic() + CATCH_UP_S
            while (seen := self._seen(topics)).keys() != counted.keys() and time.monotonic() < deadline:
                time.sleep(POLL_S)
            # What the witness was not shown in time counts as lost too: it is one of the readers that should see it.
            missing, extra = lost_and_duplicated(wanted, counted & seen, counted, seen)
            lost, duplicated = lost + missing, duplicated + extra
        return lost, duplicated

    def _seen(self, topics: Iterable[str]) -> Counter[str]:
        return sum((self.seen(topic) for topic in topics), Counter[str]())

    def _watch(self) -> None:
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001 - raised again where the block ends
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
                    raise AssertionError(f"the witness lost its place: {error.str()}")
        finally:
            consumer.close()


def count(kafka: KafkaConnection, topic: str, identity: Identity) -> Counter[str]:
    """How often each record is in the topic for a read_committed reader that begins now."""
    return Counter(identity(message) for message in committed_records(kafka, topic))


def lost_and_duplicated(expected: Iterable[str], *counts: Mapping[str, int]) -> tuple[int, int]:
    """Records of `expected` that the first count lacks, and records that any count has more than once.

    A record that was not expected counts as duplicated: nobody asked for it.
    """
    wanted = set(expected)
    lost = sum(1 for name in wanted if not counts[0].get(name))
    extra = {name for found in counts for name, times in found.items() if times > 1 or (times and name not in wanted)}
    return lost, len(extra)


def _ignore_lost_brokers(_error: Any) -> None:
    """Brokers are killed on purpose; what the witness is shown afterwards is what counts."""
