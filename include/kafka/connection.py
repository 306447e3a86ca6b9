"""Connection to a Kafka cluster: librdkafka settings, timeouts, and the clients with these settings."""

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
# Without a logger, librdkafka writes to stderr, past every handler.
client_log = logging.getLogger("librdkafka")

ADMIN_REFRESH_MS = 1000
SECRET_SETTINGS = ("password", "secret", "key.pem", "jaas", "token", "oauthbearer.config")

# librdkafka 2.16 searches for a new group coordinator only when one of its connections opens or closes, and
# `send_offsets_to_transaction` waits for that without limit (librdkafka issue 5511). When tried, a restart of the
# only broker hung it forever, because re-bootstrapping had removed the coordinator silently. With three brokers, one
# pause in eight hung it, until idle connections were closed.
COORDINATOR_SETTINGS = {"metadata.recovery.strategy": "none", "connections.max.idle.ms": 5000}


@dataclass(frozen=True)
class KafkaConnection:
    """Settings shared by every client of one step.

    Args:
        settings: librdkafka settings, `bootstrap.servers` among them.
        timeout_s: limit for any single request, in seconds. The default is longer than the measured gaps of a broker's
            restart (1 to 33 s).
        environment: distinguishes two installations on one cluster.
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
        """An admin client. Closing it cancels its requests: await results inside the block."""
        from confluent_kafka.admin import AdminClient

        # For seconds after a node's death, the cluster still names it as the controller. With the default refresh after
        # minutes, a client would wait for that node until its timeout.
        settings = {**self._client_settings(), "topic.metadata.refresh.interval.ms": ADMIN_REFRESH_MS}
        with AdminClient(settings, logger=client_log) as admin:
            yield admin

    @contextmanager
    def consumer(self, group: str, **overrides: Any) -> Iterator[Consumer]:
        """A read_committed consumer for manual assignment, closed at the end.

        It never resets a position silently: an unavailable offset is an error, and a partition's end an event.
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
                # At the end of a log the broker holds a fetch for this long. A reader of ranges fetches existing
                # records, so it waits for this once per partition.
                "fetch.wait.max.ms": 10,
                # librdkafka stops fetching while its queue is full, and by default retries after a second; a fast
                # reader empties the queue long before.
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
            BrokerUnavailable: no broker answered in time.
            TopicMissing, AccessDenied: the broker's error for this topic; a manually assigned consumer would get
                neither records nor an error.
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
        """Turn a librdkafka exception into a Millrace error; see `explain`."""
        return explain(error.args[0], action, servers=self.bootstrap_servers, timeout_s=self.timeout_s, topic=topic)


def explain(error: KafkaError, action: str, *, servers: str, timeout_s: float, topic: str | None = None) -> Exception:
    """Turn a librdkafka error into a Millrace error that names the action, the servers and the next step."""
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
        f"Kafka at {servers} refused {action} ({error.str()}): correct what it names, or read the broker's log."
    )


def log_client_error(error: KafkaError) -> None:
    """librdkafka's `error_cb`: only here do failed logins and lost brokers arrive; calls merely time out."""
    log.warning("Kafka client: %s", error.str())
