"""`millrace topic create`: makes a topic once, and refuses one that is there and differs."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from include.__main__ import app
from include.kafka.topics import describe_topics, topic_settings
from tests.support.assertions import assert_readable


@pytest.fixture
def create(kafka):
    def run(*arguments):
        return CliRunner().invoke(app, ["topic", "create", *arguments, "--bootstrap-servers", kafka.bootstrap_servers])

    return run


@pytest.fixture
def name(new_name):
    return f"{new_name()}-images"


def test_a_topic_is_made_with_its_settings_and_a_second_time_it_is_there(kafka, create, name):
    arguments = (name, "--partitions", "3", "--replication-factor", "1", "--config", "retention.ms=86400000")
    made, again = create(*arguments), create(*arguments)

    assert (made.exit_code, again.exit_code) == (0, 0), made.output + again.output
    assert made.stdout == f"{name}\n"
    assert "Created" in made.stderr
    assert "There is" in again.stderr
    assert len(describe_topics(kafka, [name])[name].partitions) == 3
    assert topic_settings(kafka, name)["retention.ms"] == "86400000"


def test_a_topic_that_differs_is_refused_with_each_difference_and_not_changed(kafka, create, name):
    create(name, "--partitions", "2")
    asked = (
        "--partitions",
        "3",
        "--replication-factor",
        "2",
        "--config",
        "cleanup.policy=compact",
        "--config",
        "a.b=1",
    )
    refused = create(name, *asked)

    assert refused.exit_code == 1
    assert_readable(
        ValueError(refused.stderr.strip()),
        *(name, "partitions 2, not 3", "replication factor 1, not 2"),
        *("cleanup.policy delete, not compact", "a.b no such setting, not 1"),
    )
    assert len(describe_topics(kafka, [name])[name].partitions) == 2
    assert topic_settings(kafka, name)["cleanup.policy"] == "delete"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("a b",), ("'a b'",)),
        (("..",), ("'..'",)),
        (("t", "--config", "retention.ms"), ("'retention.ms'", "NAME=VALUE")),
        (("{}", "--replication-factor", "3"), ("creating topic", "eplication factor")),
        (("{}", "--config", "retention=1"), ("creating topic", "retention")),
    ],
    ids=["a name", "two stops", "no value", "more copies than nodes", "an unknown setting"],
)
def test_what_kafka_does_not_take_is_refused_in_a_sentence(kafka, create, name, arguments, names):
    refused = create(*(argument.format(name) for argument in arguments))

    assert refused.exit_code == 1
    assert_readable(ValueError(refused.stderr.strip()), *names)
    assert describe_topics(kafka, [name]) == {}
