"""What an administrator, or retention, does to topics and consumer groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
)

from include.kafka.topics import TopicSpec, describe_topics, ensure_topics
from tests.support.processes import wait_for

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

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


def recreate_topic(kafka: KafkaConnection, topic: str) -> None:
    """Delete a topic and create one of the same name, with one partition and another id."""
    delete_topic(kafka, topic)
    ensure_topics(kafka, [TopicSpec(topic)])


def change_topic(kafka: KafkaConnection, topic: str, setting: str, value: str) -> None:
    """Change one setting of a topic."""
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    with _admin(kafka) as admin:
        admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)


def delete_records(kafka: KafkaConnection, topic: str, before: int, *, partition: int = 0) -> None:
    """Remove the records before an offset, as retention does."""
    end = TopicPartition(topic, partition, before)
    with _admin(kafka) as admin:
        # A client that does not know the leader yet stalls for seconds in some of these calls.
        admin.list_topics(topic, timeout=TIMEOUT_S)
        admin.delete_records([end])[end].result(TIMEOUT_S)


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
