"""Topics: their settings, their creation and their ids.

A recreated topic has another id: `include.kafka.ranges.check_range` and `include.exactly_once.progress.position_in`
refuse what belongs to an earlier one.
"""

import logging
import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from include.errors import MillraceError
from include.kafka.connection import KafkaConnection
from include.kafka.errors import AccessDenied, BrokerUnavailable, TopicCompacted, TopicMissing
from include.kafka.rights import Right

log = logging.getLogger(__name__)

POLL_S = 0.05

# As a number of copies: the broker's `default.replication.factor`.
BROKER_DEFAULT = -1

# The topic names that Kafka accepts, except for `.` and `..`.
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


@dataclass(frozen=True)
class TopicSpec:
    """A topic as a pipeline needs it.

    Args:
        replication: copies of each partition.
        config: topic settings by their Kafka names.
    """

    name: str
    partitions: int = 1
    replication: int = BROKER_DEFAULT
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TopicInfo:
    """A topic as the cluster has it: `topic_id` changes when a topic is deleted and recreated.

    Attributes:
        replication: copies of its first partition.
    """

    name: str
    topic_id: str
    partitions: tuple[int, ...]
    replication: int


def describe_topics(connection: KafkaConnection, names: Iterable[str]) -> dict[str, TopicInfo]:
    """The existing ones among `names`.

    Raises:
        BrokerUnavailable: no broker answered in time.
        AccessDenied: the credentials lack the right to describe a topic.
    """
    found: dict[str, TopicInfo] = {}
    for name, info in describe_each(connection, names).items():
        if isinstance(info, MillraceError):
            raise info
        found[name] = info
    return found


def describe_each(connection: KafkaConnection, names: Iterable[str]) -> dict[str, TopicInfo | MillraceError]:
    """The existing ones among `names`; an error of `describe_topics` stands for the topic that it is about."""
    from confluent_kafka import TopicCollection

    found: dict[str, TopicInfo | MillraceError] = {}
    with connection.admin() as admin:
        futures = admin.describe_topics(TopicCollection(list(names)), request_timeout=connection.timeout_s)
        # Once for all of them: a client that is stuck must not take this time for each.
        wait(futures.values(), connection.timeout_s + 5)
    for name, future in futures.items():
        rights = [Right("Topic", name, "Describe")]
        try:
            with suppress(TopicMissing), connection.explained(f"describing topic {name}", topic=name, rights=rights):
                description = future.result(timeout=0)
                partitions = tuple(sorted(partition.id for partition in description.partitions))
                replication = len(description.partitions[0].replicas)
                found[name] = TopicInfo(name, str(description.topic_id), partitions, replication)
        except MillraceError as error:
            found[name] = error
    return found


def describe_topic(connection: KafkaConnection, name: str) -> TopicInfo:
    """One topic that must exist.

    Raises:
        TopicMissing: it does not.
    """
    found = describe_topics(connection, [name]).get(name)
    if found is None:
        raise TopicMissing(
            f"Topic {name} does not exist at {connection.bootstrap_servers}: run the pipeline's ingest DAG, which "
            "creates its topics, or correct the topic's name in the pipeline file."
        )
    return found


def refuse_missing(connection: KafkaConnection, names: Iterable[str]) -> None:
    """Refuse missing topics that only their owner may create.

    Raises:
        TopicMissing: naming those that don't exist.
    """
    names = list(names)
    found = describe_topics(connection, names) if names else {}
    if missing := [name for name in names if name not in found]:
        raise TopicMissing(
            f"Topic {', '.join(missing)} does not exist at {connection.bootstrap_servers}, and the pipeline file says "
            "that another application fills it: have its owner create it, or correct its name under [topics] or "
            "[labels]."
        )


def topic_setting(connection: KafkaConnection, topic: str, name: str) -> str:
    """A topic's effective setting, by its Kafka name.

    Raises:
        BrokerUnavailable, AccessDenied, TopicMissing: see `KafkaConnection.explain`.
    """
    return topic_settings(connection, topic)[name]


def topic_settings(connection: KafkaConnection, topic: str) -> dict[str, str]:
    """All effective settings of a topic, by their Kafka names.

    Raises:
        BrokerUnavailable, AccessDenied, TopicMissing: see `KafkaConnection.explain`.
    """
    from confluent_kafka.admin import ConfigResource

    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    action, rights = f"reading the settings of {topic}", [Right("Topic", topic, "DescribeConfigs")]
    with connection.admin() as admin, connection.explained(action, topic=topic, rights=rights):
        future = admin.describe_configs([resource], request_timeout=connection.timeout_s)[resource]
        return {name: str(entry.value) for name, entry in future.result(timeout=connection.timeout_s + 5).items()}


def may_write(connection: KafkaConnection, topic: str) -> bool:
    """Whether the connection's principal may write to a topic; False also where it can't be seen.

    Raises:
        BrokerUnavailable, TopicMissing: see `KafkaConnection.explain`.
    """
    from confluent_kafka import TopicCollection
    from confluent_kafka.admin import AclOperation

    with (
        suppress(AccessDenied),
        connection.admin() as admin,
        connection.explained(f"describing topic {topic}", topic=topic),
    ):
        future = admin.describe_topics(
            TopicCollection([topic]), include_authorized_operations=True, request_timeout=connection.timeout_s
        )[topic]
        return AclOperation.WRITE in (future.result(timeout=connection.timeout_s + 5).authorized_operations or ())
    return False


def refuse_denied(connection: KafkaConnection, rights: Iterable[Right], step: str) -> None:
    """Refuse a step whose principal lacks one of its rights on topics, by one request for all of them.

    A topic that does not exist is left to the step itself, and so are groups and transactional ids.

    Args:
        rights: of the step; those on a prefix are not checked.
        step: its name, for the refusal: `digits.train`.

    Raises:
        AccessDenied: naming the first right that is missing.
        BrokerUnavailable: see `describe_topics`.
    """
    from confluent_kafka import KafkaError, TopicCollection
    from confluent_kafka.admin import AclOperation

    action = f"checking the rights of {step}"
    wanted = [right for right in rights if right.resource == "Topic" and not right.prefixed]
    names = sorted({right.name for right in wanted})
    with connection.admin() as admin:
        futures = admin.describe_topics(
            TopicCollection(names), include_authorized_operations=True, request_timeout=connection.timeout_s
        )
        for name, future in futures.items():
            mine = [right for right in wanted if right.name == name]
            with suppress(TopicMissing), connection.explained(action, topic=name, rights=mine):
                granted = future.result(timeout=connection.timeout_s + 5).authorized_operations
                for right in mine:
                    if granted is not None and AclOperation[_constant(right.operation)] not in granted:
                        denied = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
                        raise connection.denied_error(right, action, denied)


def _constant(operation: str) -> str:
    """`DescribeConfigs` as `DESCRIBE_CONFIGS`."""
    return re.sub("(?<!^)([A-Z])", r"_\1", operation).upper()


def refuse_compacted(connection: KafkaConnection, topic: str) -> None:
    """Refuse a topic from which Kafka may remove records in the middle of a frozen range.

    Raises:
        TopicCompacted: its cleanup.policy includes `compact`.
    """
    policy = topic_setting(connection, topic, "cleanup.policy")
    if "compact" in policy:
        raise TopicCompacted(
            f"Topic {topic} has cleanup.policy={policy} and a training needs one without compact: compaction removes "
            "records of frozen ranges, so that a resumed run would not see the samples it began with; copy them to a "
            "topic with cleanup.policy=delete."
        )


def ensure_topics(connection: KafkaConnection, specs: Iterable[TopicSpec]) -> dict[str, str]:
    """Create the missing topics and leave the others unchanged.

    Returns:
        `created` or `exists` by topic name. A topic with another number of partitions than `specs` has is unchanged,
        with a warning: adding partitions is a person's decision.

    Raises:
        BrokerUnavailable, AccessDenied: see `describe_topics`.
        confluent_kafka.KafkaException: the broker refuses a topic (an invalid replication factor, say).
    """
    wanted = {spec.name: spec for spec in specs}
    existing = describe_topics(connection, wanted)
    for name, info in existing.items():
        if len(info.partitions) != wanted[name].partitions:
            counts = f"{len(info.partitions)} partitions and the pipeline names {wanted[name].partitions}"
            log.warning("Topic %s has %s: it is unchanged.", name, counts)
    missing = [spec for name, spec in wanted.items() if name not in existing]
    if missing:
        _create_topics(connection, missing)
        _wait_until_described(connection, [spec.name for spec in missing])
    return {name: "exists" if name in existing else "created" for name in wanted}


def _create_topics(connection: KafkaConnection, specs: list[TopicSpec]) -> None:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic

    topics = [
        NewTopic(
            spec.name, num_partitions=spec.partitions, replication_factor=spec.replication, config=dict(spec.config)
        )
        for spec in specs
    ]
    with connection.admin() as admin:
        timeout_s = connection.timeout_s
        futures = admin.create_topics(topics, operation_timeout=timeout_s, request_timeout=timeout_s)
        for name, future in futures.items():
            try:
                future.result(timeout=timeout_s + 5)
            except KafkaException as error:
                # Another task may have created it in between.
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise connection.explain(
                        error, f"creating topic {name}", topic=name, rights=[Right("Topic", name, "Create")]
                    ) from error


def _wait_until_described(connection: KafkaConnection, names: list[str]) -> None:
    """A broker may answer metadata requests before it knows a topic that the controller just created."""
    deadline = time.monotonic() + connection.timeout_s
    while True:
        unseen = set(names) - set(describe_topics(connection, names))
        if not unseen:
            return
        if time.monotonic() > deadline:
            raise BrokerUnavailable(
                f"Topics {', '.join(sorted(unseen))} were created but not described within {connection.timeout_s:g} s: "
                "read the broker's log and try again."
            )
        time.sleep(POLL_S)
