"""`millrace plan` on a real broker: what it measures, how it compares, and what it changes."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from include.__main__ import app
from include.kafka.topics import TopicSpec, describe_topics, ensure_topics, topic_settings
from tests.support.assertions import assert_readable
from tests.support.producers import Record, produce


@pytest.fixture
def plan(kafka):
    def run(*arguments):
        return CliRunner().invoke(
            app, ["plan", "digits", *arguments, "--bootstrap-servers", kafka.bootstrap_servers], env={"COLUMNS": "200"}
        )

    return run


@pytest.fixture
def pipeline_topics(new_name, monkeypatch):
    """The topics of `digits` in an environment of this test's own."""
    name = new_name()
    monkeypatch.setenv("MILLRACE_ENVIRONMENT", name)
    return f"{name}.digits"


def test_a_new_topic_is_planned_with_its_assumptions_said_and_created_as_planned(kafka, plan, pipeline_topics):
    topic = f"{pipeline_topics}.requests"
    asked = ("--rate", "5000", "--record-bytes", "1000", "--task-rate", "2500", "--outage-hours", "0")
    shown, applied, again = plan(*asked), plan(*asked, "--apply"), plan(*asked)

    assert shown.exit_code == 0, shown.output
    assert "10 MB/s are assumed" in shown.stderr
    assert f"There is no topic {topic}" in shown.stderr
    assert applied.exit_code == 0, applied.output
    assert len(describe_topics(kafka, [topic])[topic].partitions) == 4
    assert topic_settings(kafka, topic)["min.insync.replicas"] == "1"
    assert f"Topic {topic} is as planned." in again.stderr


def test_partitions_are_added_only_when_a_person_says_so(kafka, plan, pipeline_topics):
    topic = f"{pipeline_topics}.requests"
    ensure_topics(kafka, [TopicSpec(topic, 2, config={"retention.ms": "7200000"})])
    asked = ("--rate", "5000", "--record-bytes", "1000", "--task-rate", "2500", "--outage-hours", "0", "--apply")
    refused = plan(*asked)

    assert refused.exit_code == 1
    error = next(line for line in refused.stderr.splitlines() if "nothing was changed" in line)
    assert_readable(ValueError(error), topic, "partitions 2", "4", "go to another partition", "--grow")
    assert topic_settings(kafka, topic)["retention.ms"] == "7200000"

    grown = plan(*asked, "--grow")
    assert grown.exit_code == 0, grown.output
    assert len(describe_topics(kafka, [topic])[topic].partitions) == 4
    assert topic_settings(kafka, topic)["retention.ms"] == str(7 * 24 * 3_600_000)


@pytest.mark.parametrize("retention", ["-1", str(30 * 24 * 3_600_000)])
def test_a_retention_is_not_shortened(kafka, plan, pipeline_topics, retention):
    topic = f"{pipeline_topics}.requests"
    ensure_topics(kafka, [TopicSpec(topic, 1, config={"retention.ms": retention})])
    refused = plan("--rate", "1", "--record-bytes", "1000", "--apply")

    assert refused.exit_code == 1
    assert f"retention.ms {retention}" in refused.stderr
    assert "older records are deleted" in refused.stderr
    assert topic_settings(kafka, topic)["retention.ms"] == retention


def test_rate_and_size_come_from_the_topic(kafka, plan, pipeline_topics):
    topic = f"{pipeline_topics}.requests"
    ensure_topics(kafka, [TopicSpec(topic, 1)])
    produce(kafka, topic, [Record(value=bytes(size), key=None) for size in (100, 300)] * 432)
    found = plan("--json")

    assert found.exit_code == 0, found.output
    assert "200 bytes, the mean of the newest 200 records" in found.stderr
    assert "Rate: 0.01 records a second" in found.stderr
    values = {item["name"]: item["value"] for item in json.loads(found.stdout)}
    assert {"partitions", "replication.factor", "retention.ms"} <= values.keys()
    assert values["compression.type"] == "none", "digits are PNG files"


def test_one_partition_is_measured_and_leaves_no_topic(kafka, plan, pipeline_topics, monkeypatch):
    monkeypatch.setattr("include.commands.plan.MEASURED_S", 0.5)
    before = _topics(kafka)
    found = plan("--record-bytes", "1000", "--rate", "1", "--measure")

    assert found.exit_code == 0, found.output
    [rate] = re.findall(r"takes ([\d.,]+) MB/s here", found.stderr)
    assert float(rate.replace(",", "")) > 0
    assert _topics(kafka) == before


def _topics(kafka):
    with kafka.admin() as admin:
        return set(admin.list_topics(timeout=10).topics)
