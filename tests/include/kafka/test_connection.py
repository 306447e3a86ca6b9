"""Clients of a connection, and the sentences for Kafka's errors."""

from __future__ import annotations

import logging
import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from include.exactly_once.ledger import LedgerKey
from include.exactly_once.snapshot import snapshot_ledger
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.connection import KafkaConnection
from include.kafka.errors import AccessDenied, BrokerUnavailable, KafkaRefused, TopicMissing
from include.kafka.login import log_in
from include.kafka.ranges import available_offsets, freeze_ranges
from include.kafka.topics import TopicSpec, describe_topics, ensure_topics
from tests.support.assertions import assert_readable


@pytest.mark.parametrize(
    "setting",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.key.pem",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.config",
    ],
)
def test_a_secret_is_not_printed(setting):
    shown = repr(KafkaConnection({"bootstrap.servers": "somewhere:9092", setting: "hush-hush"}))

    assert "hush-hush" not in shown
    assert "somewhere:9092" in shown


@pytest.mark.parametrize(
    ("settings", "backoff_ms"),
    [
        ({}, 20),
        ({"security.protocol": "ssl"}, 20),
        ({"security.protocol": "SASL_SSL"}, 1000),
        ({"reconnect.backoff.ms": 200}, 200),
        ({"security.protocol": "sasl_plaintext", "reconnect.backoff.ms": 5000}, 5000),
    ],
    ids=str,
)
def test_a_client_connects_soon_unless_it_logs_in_or_is_set_otherwise(settings, backoff_ms):
    """A directory locks an account after a few refused logins."""
    connection = KafkaConnection({"bootstrap.servers": "somewhere:9092", **settings})

    assert connection.consumer_settings("group")["reconnect.backoff.ms"] == backoff_ms


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (
            [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE],
            BrokerUnavailable,
        ),
        (
            [
                KafkaError._AUTHENTICATION,
                KafkaError.SASL_AUTHENTICATION_FAILED,
                KafkaError.TOPIC_AUTHORIZATION_FAILED,
                KafkaError.GROUP_AUTHORIZATION_FAILED,
                KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            ],
            AccessDenied,
        ),
        ([KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION], TopicMissing),
    ],
)
def test_a_client_error_becomes_one_sentence(codes, kind):
    connection = KafkaConnection({"bootstrap.servers": "somewhere:9092"}, timeout_s=7)

    for code in codes:
        explained = connection.explain(KafkaException(KafkaError(code)), "looking at it", topic="shoes")
        assert type(explained) is kind
        assert_readable(explained, "somewhere:9092", "looking at it")


def test_an_error_of_another_kind_has_the_broker_s_text(kafka):
    explained = kafka.explain(KafkaException(KafkaError(KafkaError.INVALID_REPLICATION_FACTOR)), "creating it")

    assert isinstance(explained, KafkaRefused)
    assert_readable(explained, kafka.bootstrap_servers, "creating it", "replication factor")


def describe(connection):
    describe_topics(connection, ["shoes"])


def create(connection):
    ensure_topics(connection, [TopicSpec("shoes")])


def freeze(connection):
    freeze_ranges(connection, "shoes")


def list_offsets(connection):
    available_offsets(connection, "shoes", [0])


def list_partitions(connection):
    with connection.consumer("test") as consumer:
        connection.partitions(consumer, "shoes")


def read_ledger(connection):
    snapshot_ledger(connection, [LedgerKey("local", "shoes", "step", "scope")])


def take_over(connection):
    with TransactionalWriter(connection, "test.shoes"):
        pass


def take_over_with_limits(connection):
    with TransactionalWriter(connection, "test.shoes", topics=["shoes"]):
        pass


@pytest.mark.parametrize(
    "action",
    [describe, create, freeze, list_offsets, list_partitions, read_ledger, take_over, take_over_with_limits],
    ids=lambda action: action.__name__,
)
def test_without_a_broker_every_step_fails_in_time(no_broker, action):
    began = time.monotonic()

    with pytest.raises(BrokerUnavailable) as refusal:
        action(no_broker)

    assert time.monotonic() - began < no_broker.timeout_s + 3
    assert_readable(refusal.value, no_broker.bootstrap_servers, "1 s")


def test_partitions_are_listed_in_order(kafka, new_topic):
    topic = new_topic(partitions=3)

    with kafka.consumer("test") as consumer:
        assert kafka.partitions(consumer, topic) == [0, 1, 2]


def test_partitions_of_a_missing_topic_are_refused(kafka, new_name):
    topic = new_name()

    with kafka.consumer("test") as consumer, pytest.raises(TopicMissing) as refusal:
        kafka.partitions(consumer, topic)

    assert_readable(refusal.value, topic, kafka.bootstrap_servers)


def test_a_login_by_tls_to_a_broker_without_it_is_refused(kafka):
    """The other cases are in tests/secured/test_login.py."""
    settings = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "a", "sasl.password": "b"}
    began = time.monotonic()

    with pytest.raises(AccessDenied) as refusal:
        log_in(KafkaConnection({**kafka.settings, **settings}, timeout_s=20))

    assert time.monotonic() - began < 5
    assert_readable(refusal.value, "speaks PLAINTEXT", "the connection speaks SASL_SSL", "set security.protocol to")


def test_a_lost_broker_is_logged(no_broker, caplog):
    with caplog.at_level(logging.WARNING, "include.kafka.connection"), pytest.raises(BrokerUnavailable):
        list_partitions(no_broker)

    assert any(no_broker.bootstrap_servers in record.getMessage() for record in caplog.records)


def test_an_answer_that_comes_too_late_is_a_broker_that_does_not_answer(kafka):
    with pytest.raises(BrokerUnavailable, match="while listing offsets"), kafka.explained("listing offsets"):
        raise TimeoutError
