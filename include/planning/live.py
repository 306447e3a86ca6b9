"""The topic as the cluster has it: what it carries today, how it differs from a plan, and the change to the plan."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from include.errors import PermanentError
from include.kafka.connection import KafkaConnection
from include.kafka.environment import in_environment
from include.kafka.headers import headers_of, headers_size
from include.kafka.newest import Limits, newest_records
from include.kafka.ranges import freeze_ranges, starting_at
from include.kafka.rights import Operation, Right
from include.kafka.topics import TopicInfo, TopicSpec, describe_topics, ensure_topics, topic_settings
from include.planning.sizing import Recommendation

GROUP = "millrace.plan"
SPAN_S = 24 * 3600.0
SAMPLED = 200
LIMITS = Limits(offsets=10_000, size=256 * 2**20)


class PlanRefused(PermanentError):
    """A plan that can't be applied as it is."""


@dataclass(frozen=True)
class TopicTraffic:
    """What a topic carries.

    Attributes:
        rate: records a second over the last day. Markers of transactions count too.
        record_bytes, largest_bytes: mean and maximum of its newest records: key, value and headers.
        records: how many those are; with 0 nothing is known.
    """

    rate: float = 0.0
    record_bytes: float = 0.0
    largest_bytes: int = 0
    records: int = 0


@dataclass(frozen=True)
class Difference:
    """A setting that differs, and what its change would mean.

    Attributes:
        consequence: empty where the change touches nothing that exists.
    """

    name: str
    live: str
    planned: str
    consequence: str = ""


def observe(connection: KafkaConnection, topic: str) -> TopicTraffic:
    """Measure what a topic carries, by its offsets and its newest records.

    Raises:
        TopicMissing: there is no such topic.
        BrokerUnavailable, AccessDenied: see `include.kafka.topics.describe_topics`.
    """
    ranges = freeze_ranges(connection, topic, settle_s=0)
    group = in_environment(connection.environment, GROUP)
    messages, _ = newest_records(connection, group, ranges, SAMPLED, limits=LIMITS)
    if not messages:
        return TopicTraffic()
    sizes = [
        len(message) + len(message.key() or b"") + headers_size(headers)
        for message, headers in zip(messages, headers_of(messages), strict=True)
    ]
    arrived = sum(item.offsets for item in starting_at(connection, group, ranges, int((time.time() - SPAN_S) * 1000)))
    return TopicTraffic(arrived / SPAN_S, sum(sizes) / len(sizes), max(sizes), len(sizes))


def count_brokers(connection: KafkaConnection) -> int:
    """The nodes of the cluster that keep partitions and are up.

    Raises:
        BrokerUnavailable, AccessDenied: see `KafkaConnection.explain`.
    """
    from confluent_kafka import KafkaException

    with connection.admin() as admin:
        try:
            return len(admin.list_topics(timeout=connection.timeout_s).brokers)
        except KafkaException as error:
            raise connection.explain(error, "counting the brokers") from error


def differences(info: TopicInfo, settings: Mapping[str, str], plan: Sequence[Recommendation]) -> list[Difference]:
    """How a live topic differs from a plan.

    Args:
        settings: its effective settings by their Kafka names.
    """
    live = {"partitions": str(len(info.partitions)), "replication.factor": str(info.replication), **settings}
    planned = {item.name: item.value for item in plan if item.kind in ("layout", "topic")}
    return [
        Difference(name, live[name], value, _consequence(name, live[name], value))
        for name, value in planned.items()
        # A larger limit takes what the plan needs, too.
        if live[name] != value and not (name == "max.message.bytes" and int(live[name]) > int(value))
    ]


def apply_plan(
    connection: KafkaConnection, topic: str, plan: Sequence[Recommendation], *, grow: bool = False
) -> list[Difference]:
    """Create a topic as planned, or change the settings of one that exists.

    Args:
        grow: also add partitions, which moves keys.

    Returns:
        What was changed; nothing for a topic that is as planned, and all of its settings for a new one.

    Raises:
        PlanRefused: a change can't be made here, or would move or delete records, or keep fewer copies; nothing is
            changed then.
        BrokerUnavailable, AccessDenied: see `include.kafka.topics.describe_topics`.
    """
    wanted = {item.name: item.value for item in plan if item.kind == "layout"}
    config = {item.name: item.value for item in plan if item.kind == "topic"}
    info = describe_topics(connection, [topic]).get(topic)
    if info is None:
        partitions, replication = int(wanted["partitions"]), int(wanted["replication.factor"])
        ensure_topics(connection, [TopicSpec(topic, partitions, replication, config)])
        return [Difference(name, "no topic", value) for name, value in {**wanted, **config}.items()]
    found = differences(info, topic_settings(connection, topic), plan)
    _refuse_unchangeable(topic, found, grow=grow)
    _change(connection, topic, found)
    return found


def _refuse_unchangeable(topic: str, found: Sequence[Difference], *, grow: bool) -> None:
    """Refuse what can't be changed here, and what would move or delete records or keep fewer copies."""
    for item in found:
        if item.name == "replication.factor":
            raise PlanRefused(
                f"Topic {topic} has replication.factor {item.live} and the plan {item.planned}: nothing was changed; "
                "move its copies with kafka-reassign-partitions and apply the plan again."
            )
        if item.consequence and not (item.name == "partitions" and grow and int(item.planned) > int(item.live)):
            grows = item.name == "partitions" and int(item.planned) > int(item.live)
            fix = "add --grow to add them" if grows else "change it with Kafka's tools if that is meant"
            raise PlanRefused(
                f"Topic {topic} has {item.name} {item.live} and the plan {item.planned}: nothing was changed, because "
                f"{item.consequence}; {fix}."
            )


def _change(connection: KafkaConnection, topic: str, found: Sequence[Difference]) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions

    entries = [
        ConfigEntry(item.name, item.planned, incremental_operation=AlterConfigOpType.SET)
        for item in found
        if item.name != "partitions"
    ]
    operation: Operation = "AlterConfigs"
    with connection.admin() as admin:
        try:
            if entries:
                resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
                futures = admin.incremental_alter_configs([resource], request_timeout=connection.timeout_s)
                futures[resource].result(timeout=connection.timeout_s + 5)
            operation = "Alter"
            for item in found:
                if item.name == "partitions":
                    more = [NewPartitions(topic, int(item.planned))]
                    added = admin.create_partitions(more, request_timeout=connection.timeout_s)[topic]
                    added.result(timeout=connection.timeout_s + 5)
        except KafkaException as error:
            raise connection.explain(
                error, f"changing topic {topic}", topic=topic, rights=[Right("Topic", topic, operation)]
            ) from error


def _consequence(name: str, live: str, planned: str) -> str:
    """What is lost or moved when the live value becomes the planned one."""
    # A retention of -1 is without limit.
    smaller = int(planned) < int(live) or int(live) < 0
    if name == "partitions":
        if smaller:
            return "Kafka can't take partitions away"
        return (
            "records with one key go to another partition from then on, so that their order is lost across the change"
        )
    if not smaller:
        return ""
    return {
        "retention.ms": "older records are deleted within minutes",
        "min.insync.replicas": "records count as written with fewer copies",
        "replication.factor": "fewer nodes may fail",
    }.get(name, "")
