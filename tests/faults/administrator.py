"""What an administrator, or retention, does to topics and consumer groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from include.kafka.topics import describe_topics
from tests.support.processes import wait_for

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.kafka.topics import TopicSpec

TIMEOUT_S = 90


def delete_topic(kafka: KafkaConnection, topic: str) -> None:
    """Delete a topic, and wait until it is gone."""
    with _admin(kafka) as admin:
        admin.delete_topics([topic])[topic].result(TIMEOUT_S)
    wait_for(lambda: topic not in describe_topics(kafka, [topic]), f"topic {topic} to be gone")


def make_topic(kafka: KafkaConnection, spec: TopicSpec) -> None:
    """Create a topic with the admin client."""
    topic = NewTopic(spec.name, spec.partitions, spec.replication, config=dict(spec.config))
    with _admin(kafka) as admin:
        admin.create_topics([topic])[spec.name].result(TIMEOUT_S)
    wait_for(lambda: spec.name in describe_topics(kafka, [spec.name]), f"topic {spec.name} to be there")


def add_partitions(kafka: KafkaConnection, topic: str, total: int) -> None:
    """Give a topic more partitions than it has."""
    with _admin(kafka) as admin:
        admin.create_partitions([NewPartitions(topic, total)])[topic].result(TIMEOUT_S)
    wait_for(lambda: len(describe_topics(kafka, [topic])[topic].partitions) == total, f"{total} partitions of {topic}")


def delete_records(kafka: KafkaConnection, topic: str, partition: int, before: int) -> None:
    """Remove what lies before an offset, as retention would."""
    place = TopicPartition(topic, partition, before)
    with _admin(kafka) as admin:
        for future in admin.delete_records([place]).values():
            future.result(TIMEOUT_S)


def group_offsets(kafka: KafkaConnection, group: str) -> dict[int, int]:
    """A group's committed offsets by partition; empty if the broker does not know the group."""
    with _admin(kafka) as admin:
        asked = [ConsumerGroupTopicPartitions(group)]
        try:
            found = admin.list_consumer_group_offsets(asked)[group].result(TIMEOUT_S).topic_partitions
        except KafkaException as error:
            if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise
            return {}
    return {place.partition: place.offset for place in found if place.offset >= 0}


def delete_group(kafka: KafkaConnection, group: str) -> None:
    """Delete a group's offsets at once, as a broker does after `offsets.retention.minutes`."""
    with _admin(kafka) as admin:
        admin.delete_consumer_groups([group])[group].result(TIMEOUT_S)


def _admin(kafka: KafkaConnection) -> AdminClient:
    return AdminClient({**kafka.settings, "log_level": 0})
