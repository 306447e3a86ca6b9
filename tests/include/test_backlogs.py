"""The backlogs of pipelines, polled on a real broker."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from include import backlogs
from include.backlogs import BacklogPoller
from include.errors import PermanentError
from include.exactly_once.waiting import Waiting
from include.kafka.connection import KafkaConnection
from include.kafka.errors import BrokerUnavailable, KafkaRefused, TopicRecreated
from include.kafka.schema_registry import registry_at
from include.kafka.topics import ensure_topics
from include.local.broker import running_cluster
from tests.support.administrator import delete_topic, recreate_topic
from tests.support.external_topics import external_pipeline
from tests.support.processes import wait_for
from tests.support.producers import Record, produce
from tests.support.publishing import ask, publish, request
from tests.support.registry_server import USER, running_registry
from tests.support.tiny_pipelines import letter, numbers, tiny_pipeline, tiny_predictor

# For an election, or for a node to start, on a loaded machine.
TIMEOUT_S = 180
# Of a node that is dead and named as a leader for a while, an answer is waited for so long.
REQUEST_TIMEOUT_S = 20


@pytest.fixture
def poller(kafka) -> BacklogPoller:
    return BacklogPoller(lambda: kafka, lambda connection, _: connection)


def steps(*pipelines):
    return [(pipeline, step) for pipeline in pipelines for step in backlogs.STEPS]


def wait_for_leaders(poller, *pipelines):
    """Until then a new topic's backlog is unknown."""
    wait_for(lambda: len(poller.poll(steps(*pipelines))) == 2 * len(pipelines), "leaders of the topics")


def sample(number: int, **changed):
    plain = request(number)
    return request(number, headers=[*plain.headers, ("label", letter(numbers(number)).encode())], **changed)


def test_what_waits_is_counted_for_each_pipeline_and_step(kafka, new_pipeline, poller):
    busy, idle = new_pipeline(prediction={"min_records": 100}), new_pipeline()
    wait_for_leaders(poller, busy, idle)
    ask(kafka, busy, *map(request, range(3)))
    produce(kafka, busy.samples_topic, map(sample, range(5)))

    found = poller.poll(steps(busy, idle))

    assert {key: waiting.records for key, waiting in found.items()} == {
        (busy.name, "train"): 5,
        (busy.name, "predict"): 3,
        (idle.name, "train"): 0,
        (idle.name, "predict"): 0,
    }


def test_what_was_published_no_longer_waits(kafka, new_pipeline, poller):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0))
    assert poller.poll(steps(pipeline))[pipeline.name, "predict"].records == 1

    publish(kafka, pipeline, ranges, tiny_predictor())

    def waiting() -> Waiting:
        return poller.poll(steps(pipeline))[pipeline.name, "predict"]

    # A commit returns before its markers are written.
    wait_for(lambda: waiting().records == 0, "the ledger to have the predictions")
    assert waiting().positions == waiting().ends


def test_the_age_is_that_of_the_oldest_record_of_any_partition(kafka, new_pipeline, poller):
    pipeline = new_pipeline(topics={"partitions": 2}, prediction={"min_records": 10, "max_wait_s": 60})
    now = int(time.time() * 1000)
    ask(kafka, pipeline, request(0, timestamp_ms=now - 5_000), request(1, timestamp_ms=now), partition=0)
    ask(kafka, pipeline, request(2, timestamp_ms=now - 90_000), partition=1)

    waiting = poller.poll(steps(pipeline))[pipeline.name, "predict"]

    assert waiting.oldest_ms == now - 90_000
    assert waiting.enough(time.time())


def test_nothing_is_read_again_while_nothing_changes(kafka, new_pipeline, poller, monkeypatch):
    pipeline = new_pipeline(prediction={"min_records": 10})
    ask(kafka, pipeline, request(0))
    poller.poll(steps(pipeline))
    read = []
    measure = backlogs.waiting
    monkeypatch.setattr(backlogs, "waiting", lambda *args: read.append(args[2]) or measure(*args))

    poller.poll(steps(pipeline))
    assert read == []
    ask(kafka, pipeline, request(1))
    assert poller.poll(steps(pipeline))[pipeline.name, "predict"].records == 2
    assert read == ["predict"]


def test_a_pipeline_without_its_topics_has_no_backlog(poller):
    pipeline = tiny_pipeline("has_no_topics")

    assert poller.poll(steps(pipeline)) == {}
    assert poller.poll(steps()) == {}


def test_an_error_that_a_run_would_end_with_stands_for_the_backlog_and_spares_the_others(kafka, new_pipeline, poller):
    broken, other = new_pipeline(), new_pipeline()
    publish(kafka, broken, ask(kafka, broken, request(0)), tiny_predictor())
    recreate_topic(kafka, broken.requests_topic)
    ask(kafka, other, request(0))

    found = poller.poll(steps(broken, other))

    assert isinstance(found[broken.name, "predict"], TopicRecreated)
    assert found[other.name, "predict"].records == 1


def test_a_pipeline_without_its_keys_spares_the_others_and_the_login_is_made_once(kafka, new_pipeline, poller):
    keyless, other = new_pipeline(), new_pipeline()
    wait_for_leaders(poller, keyless, other)
    logins = []

    def complete(connection, pipeline):
        if pipeline == keyless:
            raise PermanentError("Airflow has no connection for its keys.")
        return connection

    completing = BacklogPoller(lambda: logins.append(1) or kafka, complete)
    for _ in range(2):
        found = completing.poll(steps(keyless, other))

    assert isinstance(found[keyless.name, "predict"], PermanentError)
    assert found[other.name, "predict"].records == 0
    assert logins == [1]


def test_an_error_is_looked_for_again_after_a_minute(kafka, new_pipeline, poller):
    """Its cause may be corrected where neither topics nor ledger show it."""
    pipeline = new_pipeline()
    wait_for_leaders(poller, pipeline)
    asked, now = [], 1000.0

    def complete(connection, pipeline):
        asked.append(pipeline)
        if len(asked) == 1:
            raise PermanentError("Airflow has no connection for its keys.")
        return connection

    correcting, predict = BacklogPoller(lambda: kafka, complete, clock=lambda: now), [(pipeline, "predict")]
    for _ in range(2):
        assert isinstance(correcting.poll(predict)[pipeline.name, "predict"], PermanentError)
    now += 60

    assert correcting.poll(predict)[pipeline.name, "predict"].records == 0
    assert len(asked) == 2


def test_after_a_minute_with_an_error_a_corrected_login_is_noticed(kafka, new_pipeline, poller):
    pipeline = new_pipeline()
    wait_for_leaders(poller, pipeline)
    logins, now = [], 1000.0

    def connect():
        logins.append(kafka if now > 1000 else replace(kafka, timeout_s=kafka.timeout_s + 1))
        return logins[-1]

    def complete(connection, pipeline):
        if connection.timeout_s != kafka.timeout_s:
            raise PermanentError("This login may not do that.")
        return connection

    correcting, predict = BacklogPoller(connect, complete, clock=lambda: now), [(pipeline, "predict")]
    for _ in range(2):
        assert isinstance(correcting.poll(predict)[pipeline.name, "predict"], PermanentError)
    assert len(logins) == 1
    now += 60

    correcting.poll(predict)
    assert correcting.poll(predict)[pipeline.name, "predict"].records == 0
    assert len(logins) == 2


def test_a_schema_registry_that_is_away_hides_one_backlog_until_it_is_back(
    kafka, new_pipeline, new_name, new_topic, caplog
):
    """With late labels samples are read, to count those that have one."""
    samples, labels = new_topic(), new_topic()
    hidden = external_pipeline(
        new_name(),
        topics={"samples": samples, "requests": new_topic()},
        envelope={"kind": "avro", "content": "x"},
        registry={"connection": "schemas"},
        labels={"kind": "topic", "topic": labels},
    )
    other, logins = new_pipeline(), []
    produce(kafka, other.samples_topic, [sample(0)])
    with running_registry() as server:
        user, _, password = USER.partition(":")
        registry = registry_at(server.url, login=user, password=password, extra={"max.retries": 0})
        schema = '{"type": "record", "name": "Four", "fields": [{"name": "x", "type": "bytes"}]}'
        serialize = AvroSerializer(SchemaRegistryClient(dict(registry.settings)), schema)
        value = serialize({"x": numbers(0).tobytes()}, SerializationContext(samples, MessageField.VALUE))
        produce(kafka, samples, [Record(value, b"one")])
        produce(kafka, labels, [Record(b"a", b"one")])

        def complete(connection, pipeline):
            return replace(connection, registry=registry) if pipeline == hidden else connection

        poller = BacklogPoller(lambda: logins.append(1) or kafka, complete)
        server.status = 503
        for _ in range(3):
            found = poller.poll(steps(hidden, other))
            assert (hidden.name, "train") not in found
            assert found[other.name, "train"].records == 1
        server.status = 200

        assert poller.poll(steps(hidden, other))[hidden.name, "train"].records == 1
    assert logins == [1]
    assert caplog.text.count(f"What waits for {hidden.name}.train is unknown") == 1


def test_a_poll_is_three_requests_of_one_client(kafka, new_pipeline, poller, monkeypatch):
    pipelines = [new_pipeline() for _ in range(3)]
    wait_for_leaders(poller, *pipelines)
    requests = []
    for name in ("describe_topics", "list_topics", "list_offsets"):
        plain = getattr(AdminClient, name)

        def counted(client, *args, plain=plain, name=name, **settings):
            requests.append((name, id(client)))
            return plain(client, *args, **settings)

        monkeypatch.setattr(AdminClient, name, counted)

    poller.poll(steps(*pipelines))

    assert [name for name, _ in requests] == ["describe_topics", "list_topics", "list_offsets"]
    assert len({client for _, client in requests}) == 1


@pytest.mark.long
def test_a_partition_without_a_leader_hides_one_backlog_until_it_has_one(tmp_path, new_name, caplog):
    with running_cluster(tmp_path, nodes=3) as cluster:
        kafka = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers}, timeout_s=REQUEST_TIMEOUT_S)
        poller = BacklogPoller(lambda: kafka, lambda connection, _: connection)
        stopped, other = tiny_pipeline(new_name()), tiny_pipeline(new_name())
        node = cluster.nodes[-1]
        alone = NewTopic(stopped.requests_topic, num_partitions=1, replica_assignment=[[node.id]])
        with AdminClient(dict(kafka.settings)) as admin:
            admin.create_topics([alone])[alone.topic].result(TIMEOUT_S)
        ensure_topics(kafka, [*stopped.topic_specs(), *other.topic_specs()])
        ask(kafka, other, request(0))

        def polled() -> set[str]:
            return {name for name, step in poller.poll(steps(stopped, other)) if step == "predict"}

        assert polled() == {stopped.name, other.name}
        node.kill()

        def settled() -> bool:
            # It fails as a whole while the dead node is still named as the leader of each topic.
            with suppress(KafkaRefused, BrokerUnavailable):
                return polled() == {other.name} and "Leader not available" in caplog.text
            return False

        wait_for(settled, "a leader of all partitions but one", timeout_s=TIMEOUT_S)
        caplog.clear()

        began = time.monotonic()
        found = poller.poll(steps(stopped, other))

        assert time.monotonic() - began < REQUEST_TIMEOUT_S, "it waited for a leader"
        assert found[other.name, "predict"].records == 1
        assert (stopped.name, "predict") not in found
        assert caplog.text == "", "the reason is logged again"
        node.start()
        wait_for(lambda: polled() == {stopped.name, other.name}, "a leader", timeout_s=TIMEOUT_S)


def test_a_topic_that_was_deleted_is_left_out_at_the_next_poll(kafka, new_pipeline, poller):
    pipeline = new_pipeline()
    ask(kafka, pipeline, request(0))
    assert (pipeline.name, "predict") in poller.poll(steps(pipeline))

    delete_topic(kafka, pipeline.requests_topic)

    assert (pipeline.name, "predict") not in poller.poll(steps(pipeline))


def test_without_a_broker_a_poll_fails_in_time(no_broker):
    with pytest.raises(BrokerUnavailable, match="answered within 1 s"):
        BacklogPoller(lambda: no_broker, lambda connection, _: connection).poll(steps(tiny_pipeline("unknown")))
