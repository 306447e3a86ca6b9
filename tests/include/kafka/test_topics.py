"""Topics are created once, never changed afterwards, and distinguished by their ids."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from include.exactly_once.ledger import ledger_topic
from include.kafka.errors import TopicCompacted, TopicMissing
from include.kafka.topics import TopicSpec, describe_topic, describe_topics, ensure_topics, refuse_compacted
from tests.support.administrator import recreate_topic
from tests.support.assertions import assert_readable


def settings_of(kafka, topic):
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    with AdminClient(dict(kafka.settings)) as admin:
        found = admin.describe_configs([resource])[resource].result(10)
    return {name: entry.value for name, entry in found.items()}


def test_a_missing_topic_is_created_by_its_spec(kafka, new_name):
    spec = TopicSpec(new_name(), partitions=3, config={"max.message.bytes": "123456"})

    assert ensure_topics(kafka, [spec]) == {spec.name: "created"}

    assert describe_topic(kafka, spec.name).partitions == (0, 1, 2)
    assert settings_of(kafka, spec.name)["max.message.bytes"] == "123456"


def test_an_existing_topic_is_unchanged(kafka, new_name):
    spec = TopicSpec(new_name(), config={"max.message.bytes": "123456"})
    ensure_topics(kafka, [spec])
    before = describe_topic(kafka, spec.name)

    assert ensure_topics(kafka, [TopicSpec(spec.name, config={"max.message.bytes": "999"})]) == {spec.name: "exists"}

    assert describe_topic(kafka, spec.name) == before
    assert settings_of(kafka, spec.name)["max.message.bytes"] == "123456"


def test_only_the_missing_topics_are_created(kafka, new_name):
    old, new = TopicSpec(new_name()), TopicSpec(new_name())
    ensure_topics(kafka, [old])

    assert ensure_topics(kafka, [old, new]) == {old.name: "exists", new.name: "created"}


def test_another_number_of_partitions_is_logged_and_unchanged(kafka, new_name, caplog):
    name = new_name()
    ensure_topics(kafka, [TopicSpec(name, partitions=1)])

    with caplog.at_level(logging.WARNING):
        ensure_topics(kafka, [TopicSpec(name, partitions=4)])

    assert f"Topic {name} has 1 partitions and the pipeline names 4" in caplog.text
    assert describe_topic(kafka, name).partitions == (0,)


def test_two_tasks_may_create_the_same_topic_at_once(kafka, new_name):
    spec = TopicSpec(new_name())
    together = Barrier(2)

    def create(_):
        together.wait(10)
        return ensure_topics(kafka, [spec])[spec.name]

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(create, range(2)))

    assert set(answers) <= {"created", "exists"}
    assert describe_topic(kafka, spec.name).partitions == (0,)


def test_only_existing_topics_are_described(kafka, new_topic, new_name):
    topic = new_topic()

    assert set(describe_topics(kafka, [topic, new_name()])) == {topic}


def test_a_missing_topic_is_refused_by_its_name(kafka, new_name):
    name = new_name()

    with pytest.raises(TopicMissing) as refusal:
        describe_topic(kafka, name)

    assert_readable(refusal.value, name, kafka.bootstrap_servers, "ingest DAG")


def test_a_recreated_topic_has_another_id(kafka, new_name):
    spec = TopicSpec(new_name())
    ensure_topics(kafka, [spec])
    before = describe_topic(kafka, spec.name).topic_id

    recreate_topic(kafka, spec.name)

    assert describe_topic(kafka, spec.name).topic_id != before


def test_the_ledger_is_compacted_and_never_expires(kafka):
    spec = ledger_topic()
    ensure_topics(kafka, [spec])

    assert settings_of(kafka, spec.name)["cleanup.policy"] == "compact"


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_a_compacted_topic_is_refused(kafka, new_topic, policy):
    topic = new_topic(cleanup_policy=policy)

    with pytest.raises(TopicCompacted) as refusal:
        refuse_compacted(kafka, topic)

    assert_readable(refusal.value, topic, f"cleanup.policy={policy}")


def test_a_topic_with_retention_only_passes(kafka, new_topic):
    refuse_compacted(kafka, new_topic(cleanup_policy="delete"))


def test_the_policy_of_a_missing_topic_is_a_missing_topic(kafka, new_name):
    with pytest.raises(TopicMissing):
        refuse_compacted(kafka, new_name())
