"""An independent audit of a pipeline's topics: counts, and the results of each request.

It shares no reading code with what it checks: it uses a plain `read_committed` consumer with its own group.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.definition.pipeline import Pipeline
from include.kafka.dead_letters import ADDRESS
from include.kafka.position import offset_of
from include.local.errors import StackError

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message


_TIMEOUT_S = 30.0
_GROUP = "millrace.demo"
_EXAMPLES = 5
_ADDRESS_KEYS = ("topic", "partition", "offset")

# Topic and partition to an offset.
Offsets = Mapping[tuple[str, int], int]


@dataclass(frozen=True)
class Audit:
    """The content of a pipeline's topics; every count is of records, `new_` of those since the offsets given.

    Attributes:
        missing: addresses (topic/partition/offset) of requests with neither a prediction nor a dead letter.
        doubled: addresses with more than one.
        examples: the last predictions, as they are in the topic.
    """

    samples: int = 0
    new_samples: int = 0
    requests: int = 0
    new_requests: int = 0
    predictions: int = 0
    new_predictions: int = 0
    dead_letters: int = 0
    missing: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    examples: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @property
    def exactly_once(self) -> bool:
        """Whether each request has exactly one result."""
        return not self.missing and not self.doubled


def end_offsets(settings: Mapping[str, str], pipeline: Pipeline) -> Offsets:
    """The end offset of each partition of the pipeline's topics; missing topics are left out."""
    with _consumer(settings) as consumer:
        return {
            (topic, partition): end
            for topic in _topics(pipeline)
            for partition, (_, end) in _bounds(consumer, topic).items()
        }


def audit(settings: Mapping[str, str], pipeline: Pipeline, since: Offsets) -> Audit:
    """Read all of the pipeline's topics, requests before results, and compare.

    Each request in its topic at the start must have exactly one result; results of requests that retention has removed
    are only counted.

    Raises:
        StackError: the broker sent nothing for 30 s.
    """
    totals: Counter[str] = Counter()
    new: Counter[str] = Counter()
    results: Counter[str] = Counter()
    examples: list[Mapping[str, Any]] = []
    requests: list[str] = []
    with _consumer(settings) as consumer:
        for topic in _topics(pipeline):
            for message in _committed(consumer, topic):
                totals[topic] += 1
                new[topic] += offset_of(message) >= since.get((topic, message.partition()), 0)  # type: ignore[arg-type]
                if topic == pipeline.requests_topic:
                    requests.append(f"{topic}/{message.partition()}/{message.offset()}")
                elif topic == pipeline.predictions_topic:
                    prediction = json.loads(message.value() or b"{}")
                    results["/".join(str(prediction.get(key)) for key in _ADDRESS_KEYS)] += 1
                    examples = [*examples[1 - _EXAMPLES :], prediction]
                elif topic == pipeline.dead_letters_topic:
                    results[_header(message, ADDRESS)] += 1
    return Audit(
        samples=totals[pipeline.samples_topic],
        new_samples=new[pipeline.samples_topic],
        requests=len(requests),
        new_requests=new[pipeline.requests_topic],
        predictions=totals[pipeline.predictions_topic],
        new_predictions=new[pipeline.predictions_topic],
        dead_letters=totals[pipeline.dead_letters_topic],
        missing=tuple(address for address in requests if not results[address]),
        doubled=tuple(address for address in requests if results[address] > 1),
        examples=tuple(examples),
    )


def _header(message: Message, name: str) -> str:
    value = dict(message.headers() or []).get(name) or b""
    return value.decode() if isinstance(value, bytes) else value


def _topics(pipeline: Pipeline) -> tuple[str, ...]:
    """In reading order: a result cannot be older than its request."""
    return (
        pipeline.samples_topic,
        pipeline.requests_topic,
        pipeline.predictions_topic,
        pipeline.dead_letters_topic,
    )


@contextmanager
def _consumer(settings: Mapping[str, str]) -> Iterator[Consumer]:
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            **settings,
            "group.id": _GROUP,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            # The end-of-partition event comes after this long.
            "fetch.wait.max.ms": 10,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _bounds(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """First and one-past-last offset by partition; nothing for a topic that does not exist."""
    from confluent_kafka import KafkaError, KafkaException, TopicPartition

    try:
        metadata = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        if metadata.error is not None and metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return {}
        return {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_S)
            for partition in metadata.partitions
        }
    except KafkaException as error:
        raise StackError(f"The offsets of topic {topic} could not be read ({error}): see the broker's log.") from error


def _committed(consumer: Consumer, topic: str) -> Iterator[Message]:
    """Every committed record up to the end of each partition."""
    from confluent_kafka import KafkaError, TopicPartition

    bounds = _bounds(consumer, topic)
    left = {partition: end for partition, (first, end) in bounds.items() if end > first}
    consumer.assign([TopicPartition(topic, partition, bounds[partition][0]) for partition in left])
    deadline = time.monotonic() + _TIMEOUT_S
    while left:
        messages = consumer.consume(1000, 0.1)
        if messages:
            deadline = time.monotonic() + _TIMEOUT_S
        elif time.monotonic() > deadline:
            raise StackError(f"Topic {topic} sent nothing for {_TIMEOUT_S:g} s: see the broker's log.")
        for message in messages:
            partition = message.partition()
            error = message.error()
            if error is None:
                yield message
            # The end of the committed records: beyond are markers, or an open transaction.
            elif error.code() == KafkaError._PARTITION_EOF:
                left.pop(partition, None)  # type: ignore[arg-type]
            elif not error.retriable():
                raise StackError(f"Topic {topic} could not be read ({error}): see the broker's log.")
    consumer.unassign()
