"""How Millrace reaches a Kafka cluster: librdkafka settings, timeouts and the clients made from them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.kafka.errors import AccessDenied, BrokerUnavailable, KafkaRefused, TopicMissing
from include.kafka.schema_registry import NoRegistry, SchemaRegistry
from include.kafka.signing import InvalidSigningKeys, SigningKeys

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
    from confluent_kafka.admin import AdminClient

log = logging.getLogger(__name__)
# librdkafka would write to stderr, past every handler.
client_log = logging.getLogger("librdkafka")

ADMIN_REFRESH_MS = 1000
SECRET_SETTINGS = ("password", "secret", "key.pem", "jaas", "token", "oauthbearer.config")

# librdkafka 2.16 looks for another group coordinator only when one of its connections comes or goes, and
# `send_offsets_to_transaction` waits for that without end (librdkafka issue 5511). Tried: a restart of the only broker
# hung it for good, because bootstrapping again had removed the coordinator unnoticed; of three brokers one pause in
# eight did, until connections that idle were closed.
COORDINATOR_SETTINGS = {"metadata.recovery.strategy": "none", "connections.max.idle.ms": 5000}


@dataclass(frozen=True)
class KafkaConnection:
    """Settings shared by every client of one step.

    Args:
        settings: librdkafka settings, `bootstrap.servers` among them.
        timeout_s: seconds that any single request may take. The default outlasts the measured gaps of a broker's
            restart (1 to 33 s).
        environment: what keeps two installations on one cluster apart.
        signing: the keys of a pipeline whose records are signed.
        registry: the Schema Registry of a pipeline whose records are read with one.
    """

    settings: Mapping[str, Any]
    timeout_s: float = 60.0
    environment: str = "local"
    signing: SigningKeys | None = None
    registry: SchemaRegistry | None = None

    def __repr__(self) -> str:
        shown = {
            name: "***" if any(secret in name for secret in SECRET_SETTINGS) else value
            for name, value in self.settings.items()
        }
        return f"KafkaConnection({shown}, timeout_s={self.timeout_s}, environment={self.environment!r})"

    @property
    def bootstrap_servers(self) -> str:
        return str(self.settings.get("bootstrap.servers", ""))

    def signing_keys(self, *, signed: bool) -> SigningKeys | None:
        """The keys where records are signed, and None where they are not.

        Raises:
            InvalidSigningKeys: records are signed and the connection has no keys.
        """
        if signed and self.signing is None:
            raise InvalidSigningKeys(
                "The records are signed and the connection has no keys: name the Airflow connection that has them "
                "under [signing] in the pipeline file."
            )
        return self.signing if signed else None

    def schema_registry(self) -> SchemaRegistry:
        """The Schema Registry.

        Raises:
            NoRegistry: the connection has none.
        """
        if self.registry is None:
            raise NoRegistry(
                "The records are read with a Schema Registry and the connection has none: name the Airflow connection "
                "that has it under [registry] in the pipeline file."
            )
        return self.registry

    def _client_settings(self) -> dict[str, Any]:
        milliseconds = int(self.timeout_s * 1000)
        return {
            "error_cb": log_client_error,
            "socket.timeout.ms": min(milliseconds, 60_000),
            "socket.connection.setup.timeout.ms": min(milliseconds, 30_000),
            **self.settings,
        }

    @contextmanager
    def admin(self) -> Iterator[AdminClient]:
        """An admin client; requests die with it, so results are awaited inside the block."""
        from confluent_kafka.admin import AdminClient

        # Asked within seconds of a node's death the cluster still names that node as its controller, and a client that
        # looks again after minutes only would wait for it until its timeout.
        settings = {**self._client_settings(), "topic.metadata.refresh.interval.ms": ADMIN_REFRESH_MS}
        with AdminClient(settings, logger=client_log) as admin:
            yield admin

    @contextmanager
    def consumer(self, group: str, **overrides: Any) -> Iterator[Consumer]:
        """A read_committed consumer for manual assignment, closed at the end.

        It never decides silently where to read: an offset that is gone is an error, and a
        partition's end an event.
        """
        from confluent_kafka import Consumer

        consumer = Consumer(
            {
                **self._client_settings(),
                "group.id": group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "check.crcs": True,
                # At the end of a log the broker holds a fetch for this long before it says so; a reader of ranges asks
                # for records that are there, and waits for that answer once a partition.
                "fetch.wait.max.ms": 10,
                # librdkafka stops fetching while its queue is full and by default looks again after a second; a
                # fast reader has emptied the queue long before.
                "fetch.queue.backoff.ms": 5,
                **overrides,
            },
            logger=client_log,
        )
        try:
            yield consumer
        finally:
            consumer.close()

    def producer(self, **overrides: Any) -> Producer:
        """An idempotent producer with `acks=all`; the caller flushes it."""
        from confluent_kafka import Producer

        return Producer(
            {
                **COORDINATOR_SETTINGS,
                **self._client_settings(),
                "enable.idempotence": True,
                "acks": "all",
                **overrides,
            },
            logger=client_log,
        )

    def partitions(self, consumer: Consumer | AdminClient | Producer, topic: str) -> list[int]:
        """The topic's partition numbers.

        Raises:
            BrokerUnavailable: nobody answered in time.
            TopicMissing, AccessDenied: what the broker says of this topic; a manually assigned consumer would get
                nothing and no error.
        """
        from confluent_kafka import KafkaException

        try:
            metadata = consumer.list_topics(topic, timeout=self.timeout_s).topics[topic]
        except KafkaException as error:
            raise self.explain(error, f"listing topic {topic}") from error
        if metadata.error is not None:
            raise self.explain(KafkaException(metadata.error), f"listing topic {topic}", topic=topic)
        return sorted(metadata.partitions)

    def explain(self, error: KafkaException, action: str, *, topic: str | None = None) -> Exception:
        """The error as one sentence of ours, or the error itself where it says enough already."""
        return explain(error.args[0], action, servers=self.bootstrap_servers, timeout_s=self.timeout_s, topic=topic)


def explain(error: KafkaError, action: str, *, servers: str, timeout_s: float, topic: str | None = None) -> Exception:
    """Turn a librdkafka error into a Millrace one that names what was tried, where, and what to do next."""
    from confluent_kafka import KafkaError

    code = error.code()
    if code in (
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
    ):
        return BrokerUnavailable(
            f"No Kafka broker at {servers} answered within {timeout_s:g} s while {action} ({error.str()}): "
            "start the broker or correct bootstrap.servers in the Airflow connection."
        )
    if code in (
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ):
        return AccessDenied(
            f"Kafka at {servers} denied access while {action} ({error.str()}): "
            "check the connection's credentials and the rights granted to them."
        )
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):
        return TopicMissing(
            f"Topic {topic or '(see the action)'} does not exist at {servers} while {action}: "
            "run the pipeline's ingest DAG, which creates its topics, or correct the topic's name in the pipeline file."
        )
    return KafkaRefused(
        f"Kafka at {servers} refused {action} ({error.str()}): correct what it names, or look at the broker's log."
    )


def log_client_error(error: KafkaError) -> None:
    """librdkafka's `error_cb`: failed logins and lost brokers arrive only here, as calls merely time out."""
    log.warning("Kafka client: %s", error.str())
