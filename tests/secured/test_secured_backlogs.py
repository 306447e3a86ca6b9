"""The backlogs of several pipelines, where the principal that polls them lacks rights."""

from __future__ import annotations

from contextlib import suppress

import pytest

from include.backlogs import STEPS, BacklogPoller
from include.definition.rights import step_rights
from include.exactly_once.ledger import LEDGER_TOPIC
from include.exactly_once.waiting import Waiting
from include.kafka.errors import AccessDenied
from include.kafka.topics import ensure_topics, refuse_denied
from tests.support.assertions import assert_readable
from tests.support.processes import wait_for
from tests.support.tiny_pipelines import tiny_pipeline


def poll(connection, *pipelines):
    poller = BacklogPoller(lambda: connection, lambda completed, _: completed)
    return poller.poll([(pipeline, step) for pipeline in pipelines for step in STEPS])


def rights_of(pipeline):
    return {right for step in STEPS for right in step_rights(pipeline, step)}


def may(connection, rights):
    with suppress(AccessDenied):
        refuse_denied(connection, rights, "polling")
        return True
    return False


def test_a_topic_that_is_denied_is_an_error_of_its_pipeline_alone(administrator, users, new_name):
    """A pipeline is often added before its rights are granted; Kafka denies its topics, too, before they exist."""
    granted, denied, unmade = (tiny_pipeline(new_name()) for _ in range(3))
    ensure_topics(administrator, [*granted.topic_specs(), *denied.topic_specs()])
    [connection] = users.with_rights([rights_of(granted)])
    wait_for(lambda: may(connection, rights_of(granted)), "the rights to be known")

    found = poll(connection, denied, unmade, granted)

    assert {key for key, item in found.items() if isinstance(item, Waiting)} == {(granted.name, step) for step in STEPS}
    for pipeline in (denied, unmade):
        assert_readable(found[pipeline.name, "train"], f"Describe on Topic {pipeline.samples_topic}", "kafka-acls")
        assert_readable(found[pipeline.name, "predict"], f"Describe on Topic {pipeline.requests_topic}", "kafka-acls")


def test_a_ledger_that_is_denied_is_refused_for_all(administrator, users, new_name):
    pipeline = tiny_pipeline(new_name())
    ensure_topics(administrator, pipeline.topic_specs())
    [connection] = users.with_rights([[right for right in rights_of(pipeline) if right.name != LEDGER_TOPIC]])

    with pytest.raises(AccessDenied, match=LEDGER_TOPIC):
        poll(connection, pipeline)
