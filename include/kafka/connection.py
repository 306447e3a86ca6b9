"""Connection to a Kafka cluster: librdkafka settings, timeouts, and the clients with these settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from include.kafka.environment import current_environment
from include.kafka.errors import AccessDenied, BrokerUnavailable, KafkaRefused, TopicMissing
from include.kafka.rights import Resource, Right, grant_command
from include.kafka.schema_registry import NoRegistry, SchemaRegistry
from include.kafka.settings import (
    NESTED_SETTINGS,
    invalid_settings,
    is_secret,
    refuse_code,
    refuse_missing_files,
    refuse_unprotected,
)
from include.kafka.signing import InvalidSigningKeys, SigningKeys

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
    from confluent_kafka.admin import AdminClient

log = logging.getLogger(__name__)
# Without a logger, librdkafka writes to stderr, past every handler.
client_log = logging.getLogger("librdkafka")

Client = TypeVar("Client")

ADMIN_REFRESH_MS = 1000

# librdkafka 2.16 searches for a new group coordinator only when one of its connections opens or closes, and
# `send_offsets_to_transaction` waits for that without limit (librdkafka issue 5511). When tried, a restart of the
# only broker hung it forever, because re-bootstrapping had removed the coordinator silently. With three brokers, one
# pause in eight hung it, until idle connections were closed.
COORDINATOR_SETTINGS = {"metadata.recovery.strategy": "none", "connections.max.idle.ms": 5000}

# With several requests in flight the first records of a producer can be lost, also in a committed transaction: a node
# that does not lead the partition yet refuses the first request and may take the second one, for to it any sequence
# number is the first of a producer that it does not know. To librdkafka 2.16 an answer to a request implies that the
# records before it were taken: it sends them no more and reports them as delivered. With one request in flight nothing
# is sent before the first one is taken.
WITHOUT_LOSS = {"enable.idempotence": True, "acks": "all", "max.in.flight.requests.per.connection": 1}

# librdkafka lets half of this pass between a new client's first two connections, 11 ms at least and by default 50 ms.
# Whatever it is, the wait for a broker that is down doubles to ten seconds; that of Java's clients begins with 50 ms.
BACKOFF_SETTINGS = {"reconnect.backoff.ms": 20}
# By default librdkafka tries a refused login again after 0.1 s, and a directory locks an account after a few of them.
LOGIN_SETTINGS = {"reconnect.backoff.ms": 1000, "reconnect.backoff.max.ms": 10_000}


@dataclass(frozen=True)
class KafkaConnection:
    """Settings shared by every client of one step.

    Args:
        settings: librdkafka settings, `bootstrap.servers` among them.
        timeout_s: limit for any single request, in seconds. The default is longer than the measured gaps of a broker's
            restart (1 to 33 s).
        environment: separates installations on one cluster; see `include.kafka.environment`.
        signing: the keys of a pipeline whose records are signed.
        registry: the Schema Registry of a pipeline whose records are read with one.
        shared_admin: the client of every `admin()`, see `with_one_admin`.
    """

    settings: Mapping[str, Any]
    timeout_s: float = 60.0
    environment: str = field(default_factory=current_environment)
    signing: SigningKeys | None = None
    registry: SchemaRegistry | None = None
    shared_admin: AdminClient | None = None

    def __repr__(self) -> str:
        shown = {
            name: "***" if is_secret(name) or name in NESTED_SETTINGS or isinstance(value, Mapping) else value
            for name, value in self.settings.items()
        }
        return f"KafkaConnection({shown}, timeout_s={self.timeout_s}, environment={self.environment!r})"

    @property
    def bootstrap_servers(self) -> str:
        return str(self.settings.get("bootstrap.servers", ""))

    @property
    def principal(self) -> str | None:
        """The principal of a login by name, `User:ingest`; None where a certificate or a token has it."""
        name = self.settings.get("sasl.username")
        return f"User:{name}" if name else None

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
        refuse_code(self.settings)
        refuse_unprotected(self.settings)
        refuse_missing_files(self.settings)
        milliseconds = int(self.timeout_s * 1000)
        logs_in = str(self.settings.get("security.protocol", "")).lower().startswith("sasl")
        return {
            "error_cb": log_client_error,
            "socket.timeout.ms": min(milliseconds, 60_000),
            "socket.connection.setup.timeout.ms": min(milliseconds, 30_000),
            **(LOGIN_SETTINGS if logs_in else BACKOFF_SETTINGS),
            **self.settings,
        }

    def _client(self, make: Callable[..., Client], settings: Mapping[str, Any]) -> Client:
        """Make a client.

        Raises:
            InvalidSettings: librdkafka refuses a setting, or a file or key that one names.
        """
        from confluent_kafka import KafkaException

        try:
            return make(dict(settings), logger=client_log)
        except KafkaException as error:
            raise invalid_settings(error, error.args[0].str(), self.settings) from error
        except (TypeError, ValueError, AttributeError) as error:
            raise invalid_settings(error, str(error), self.settings) from error

    @contextmanager
    def admin(self) -> Iterator[AdminClient]:
        """An admin client. Closing it cancels its requests: await results inside the block."""
        from confluent_kafka.admin import AdminClient

        if self.shared_admin is not None:
            yield self.shared_admin
            return
        # For seconds after a node's death, the cluster still names it as the controller. With the default refresh after
        # minutes, a client would wait for that node until its timeout.
        settings = {**self._client_settings(), "topic.metadata.refresh.interval.ms": ADMIN_REFRESH_MS}
        with self._client(AdminClient, settings) as admin:
            yield admin

    @contextmanager
    def with_one_admin(self) -> Iterator[KafkaConnection]:
        """The same connection, of which each `admin()` in the block is one client.

        A client connects to a bootstrap server and then to the brokers that it names, and logs in to each. librdkafka
        lets half of `reconnect.backoff.ms` pass between the first two: 11 ms, and 500 ms where it logs in.
        """
        with self.admin() as admin:
            yield replace(self, shared_admin=admin)

    @contextmanager
    def consumer(self, group: str, **overrides: Any) -> Iterator[Consumer]:
        """A read_committed consumer for manual assignment, closed at the end.

        It never resets a position silently: an unavailable offset is an error, and a partition's end an event.
        """
        from confluent_kafka import Consumer

        consumer = self._client(_with_group(Consumer), self.consumer_settings(group, **overrides))
        try:
            yield consumer
        finally:
            consumer.close()

    def consumer_settings(self, group: str, **overrides: Any) -> dict[str, Any]:
        """The settings of `consumer`.

        Raises:
            InvalidSettings: see `include.kafka.settings`.
        """
        return {
            **self._client_settings(),
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "check.crcs": True,
            # librdkafka does not count headers in the bytes that it fetches ahead, and by default fetches a hundred
            # thousand records, which may have a megabyte of headers each.
            "queued.min.messages": 250,
            # At the end of a log the broker holds a fetch for this long. A reader of ranges fetches existing
            # records, so it waits for this once per partition.
            "fetch.wait.max.ms": 10,
            # librdkafka stops fetching while its queue is full, and by default retries after a second; a fast
            # reader empties the queue long before.
            "fetch.queue.backoff.ms": 5,
            **overrides,
        }

    def producer(self, **overrides: Any) -> Producer:
        """An idempotent producer with `acks=all` and one request in flight; the caller flushes it."""
        from confluent_kafka import Producer

        return self._client(Producer, {**COORDINATOR_SETTINGS, **self._client_settings(), **WITHOUT_LOSS, **overrides})

    def partitions(self, consumer: Consumer | AdminClient | Producer, topic: str) -> list[int]:
        """The topic's partition numbers.

        Raises:
            BrokerUnavailable: no broker answered in time.
            TopicMissing, AccessDenied: the broker's error for this topic; a manually assigned consumer would get
                neither records nor an error.
        """
        from confluent_kafka import KafkaException

        with self.explained(f"listing topic {topic}", topic=topic, rights=[Right("Topic", topic, "Describe")]):
            metadata = consumer.list_topics(topic, timeout=self.timeout_s).topics[topic]
            if metadata.error is not None:
                raise KafkaException(metadata.error)
        return sorted(metadata.partitions)

    @contextmanager
    def explained(self, action: str, *, topic: str | None = None, rights: Iterable[Right] = ()) -> Iterator[None]:
        """Raise a librdkafka exception of the block as the Millrace error of `explain`.

        So is a request whose answer nobody has taken in time, as on a machine that is overloaded.
        """
        from confluent_kafka import KafkaError, KafkaException

        try:
            yield
        except KafkaException as error:
            raise self.explain(error, action, topic=topic, rights=rights) from error
        except TimeoutError as error:
            late = KafkaException(KafkaError(KafkaError._TIMED_OUT))
            raise self.explain(late, action, topic=topic, rights=rights) from error

    def explain(
        self, error: KafkaException, action: str, *, topic: str | None = None, rights: Iterable[Right] = ()
    ) -> Exception:
        """Turn a librdkafka exception into a Millrace error that names the action, the servers and the next step.

        Args:
            rights: those that the action needs; the one that the error is about is named.
        """
        from confluent_kafka import KafkaError

        cause, servers = error.args[0], self.bootstrap_servers
        code = cause.code()
        if code in (
            KafkaError._TRANSPORT,
            KafkaError._ALL_BROKERS_DOWN,
            KafkaError._TIMED_OUT,
            KafkaError._RESOLVE,
            KafkaError.REQUEST_TIMED_OUT,
            KafkaError._TIMED_OUT_QUEUE,
        ):
            return BrokerUnavailable(
                f"No Kafka broker at {servers} answered within {self.timeout_s:g} s while {action} ({cause.str()}): "
                "start the broker or correct bootstrap.servers in the Airflow connection."
            )
        if code in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
            return AccessDenied(
                f"Kafka at {servers} refused the login of {self.principal or 'the connection'} while {action} "
                f"({cause.str()}): correct the credentials in the Airflow connection."
            )
        resources: dict[int, Resource] = {
            KafkaError.TOPIC_AUTHORIZATION_FAILED: "Topic",
            KafkaError.GROUP_AUTHORIZATION_FAILED: "Group",
            KafkaError.CLUSTER_AUTHORIZATION_FAILED: "Cluster",
            KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "TransactionalId",
        }
        if (resource := resources.get(code)) is not None:
            return self.denied_error(
                next((right for right in rights if right.resource == resource), None), action, cause
            )
        if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):
            return TopicMissing(
                f"Topic {topic or '(see the action)'} does not exist at {servers} while {action}: run the pipeline's "
                "ingest DAG, which creates its topics, or correct the topic's name in the pipeline file."
            )
        return KafkaRefused(
            f"Kafka at {servers} refused {action} ({cause.str()}): correct what it names, or read the broker's log."
        )

    def denied_error(self, right: Right | None, action: str, cause: KafkaError) -> AccessDenied:
        """The error for a right that this connection's principal lacks, with the command that grants it.

        Args:
            right: None where it is not known.
        """
        principal = self.principal
        if right is None:
            grant = "grant what `millrace acls` prints for the step"
        else:
            command = grant_command(principal or "User:NAME", [right], "--bootstrap-server", self.bootstrap_servers)
            grant = f"grant it by `{command}`; `millrace acls` prints all rights of a step"
        return AccessDenied(
            f"Kafka at {self.bootstrap_servers} denied {principal or 'the principal of the connection'} "
            f"{'access' if right is None else right} while {action} ({cause.str()}): {grant}."
        )


def group_of(consumer: Consumer) -> str:
    return str(getattr(consumer, "group", ""))


@cache
def _with_group(client: type[Consumer]) -> type[Consumer]:
    class GroupConsumer(client):  # type: ignore[misc, valid-type]
        """A consumer that knows its group: an error about a group's rights does not name it."""

        def __init__(self, settings: dict[str, Any], **arguments: Any) -> None:
            super().__init__(settings, **arguments)
            self.group = settings["group.id"]

    return GroupConsumer


def log_client_error(error: KafkaError) -> None:
    """librdkafka's `error_cb`: only here do failed logins and lost brokers arrive; calls merely time out."""
    log.warning("Kafka client: %s", error.str())
