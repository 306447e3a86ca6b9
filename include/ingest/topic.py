"""The Kafka reader of a source of kind `topic`: sources do not import Kafka, and include.kafka imports no sources."""

from collections.abc import Iterator, Sequence

from include.definition.pipeline import Pipeline
from include.exactly_once.attempt import consumer_group
from include.kafka.connection import KafkaConnection
from include.kafka.headers import UNREADABLE, headers_of
from include.kafka.position import leader_epoch_of, offset_of
from include.kafka.ranges import OffsetRange, check_ranges, freeze_ranges
from include.kafka.reader import read_range
from include.sources.base import Source, SourceRefused
from include.sources.topic import TopicRange, TopicRecord, TopicSource


class KafkaTopicReader:
    """Reads the committed records of a topic; see `include.sources.topic.TopicReader`.

    Raises, from any method:
        TopicMissing, TopicRecreated, RangeUnavailable, LogTruncated, ReaderStalled, BrokerUnavailable, AccessDenied:
            see include.kafka.
    """

    def __init__(self, connection: KafkaConnection, topic: str, group: str) -> None:
        self._connection = connection
        self._topic = topic
        self._group = group

    def bounds(self) -> tuple[str, list[TopicRange]]:
        ranges = freeze_ranges(self._connection, self._topic)
        return ranges[0].topic_id, [TopicRange(item.partition, item.start, item.end) for item in ranges]

    def read(self, topic_id: str, ranges: Sequence[TopicRange]) -> Iterator[TopicRecord]:
        wanted = [
            (OffsetRange(self._topic, topic_id, item.partition, item.start, item.end), item.epoch_before)
            for item in ranges
            if item.end > item.start
        ]
        if not wanted:
            return
        check_ranges(self._connection, [item for item, _ in wanted])
        with self._connection.consumer(self._group) as consumer:
            for item, epoch in wanted:
                for messages in read_range(self._connection, consumer, item, leader_epoch=epoch):
                    for message, headers in zip(messages, headers_of(messages), strict=True):
                        by_name = dict(headers)
                        yield TopicRecord(
                            item.partition,
                            offset_of(message),
                            leader_epoch_of(message),
                            message.value(),
                            None if UNREADABLE in by_name else by_name,
                        )


def readable(source: Source, pipeline: Pipeline, connection: KafkaConnection) -> Source:
    """The source; one of kind `topic` in the pipeline's own cluster gets a reader on this connection.

    Raises:
        SourceRefused: it reads a topic that the pipeline writes to.
    """
    if not isinstance(source, TopicSource) or source.connection is not None:
        return source
    own = (pipeline.samples_topic, pipeline.requests_topic, pipeline.predictions_topic, pipeline.dead_letters_topic)
    if source.topic in own:
        raise SourceRefused(
            f"The source of {pipeline.name} is {source.topic}, one of the pipeline's own topics, which would grow "
            "for ever: name another topic in [source]."
        )
    return source.through(topic_reader(pipeline, source, connection))


def topic_reader(pipeline: Pipeline, source: TopicSource, connection: KafkaConnection) -> KafkaTopicReader:
    return KafkaTopicReader(connection, source.topic, consumer_group(connection.environment, pipeline.name, "source"))
