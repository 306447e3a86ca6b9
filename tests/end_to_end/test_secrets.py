"""After the whole flow on a secured broker, no secret is anywhere but in the files that are made to hold it."""

from __future__ import annotations

import json

import pytest

from include.kafka.connection import KafkaConnection
from include.local.stack import Stack
from tests.support.secrets import (
    SEPARATE,
    SIGNED,
    STORED,
    Canaries,
    every_answer,
    every_record,
    files_with,
    shown,
)
from tests.support.workflows import WORKFLOWS

# The first test waits until all workflows have run.
pytestmark = pytest.mark.timeout(3600)

HOLDERS = {
    "airflow/simple_auth_manager_passwords.json.generated",
    "broker/node-1/format.arguments",
    "broker/node-1/format.properties",
    "broker/node-1/server.properties",
    "broker/security/admin.properties",
    "broker/security/broker.pem",
    "broker/security/connections.env",
    "broker/security/passwords.json",
    "stack/record.json",
}
# Processes that need none of the secrets in Airflow's environment.
STRANGERS = (b"kafka.Kafka", b"include.training.worker")


@pytest.fixture(scope="module")
def secrets(flow: Stack, canaries: Canaries) -> dict[str, bytes]:
    """All secrets by name, after they were used; some are in a connection in Airflow's database."""
    connection = {"connection_id": STORED, "conn_type": "kafka", "extra": json.dumps(dict(canaries.stored))}
    flow.api.post("/connections", connection)
    return canaries.of(flow)


def test_the_only_files_with_secrets_are_made_for_them_and_for_this_user(
    flow: Stack, secrets: dict[str, bytes]
) -> None:
    """Databases, logs, results of tasks, rendered fields, models, checkpoints and the broker's own files."""
    found = files_with(secrets, flow.layout.state)

    assert found.keys() == HOLDERS
    assert {mode for mode, _ in found.values()} == {0o600}


def test_no_record_of_any_topic_has_a_secret(kafka: KafkaConnection, secrets: dict[str, bytes]) -> None:
    found: dict[str, set[str]] = {}
    for topic, record in every_record(kafka):
        found.setdefault(topic, set()).update(shown(secrets, record))

    assert {f"{SIGNED}.samples", f"{SEPARATE}.predictions", "millrace.ledger", "__consumer_offsets"} <= found.keys()
    assert {topic: names for topic, names in found.items() if names} == {}


def test_no_process_has_a_secret_among_its_arguments(processes: dict[bytes, bytes], secrets: dict[str, bytes]) -> None:
    assert {name: [arguments for arguments in processes if name in arguments] for name in STRANGERS}
    assert [arguments for arguments in processes if shown(secrets, arguments)] == []


@pytest.mark.parametrize("program", STRANGERS)
def test_a_program_that_needs_no_secret_of_airflow_has_none_in_its_environment(
    processes: dict[bytes, bytes], secrets: dict[str, bytes], program: bytes
) -> None:
    environments = [environment for arguments, environment in processes.items() if program in arguments]

    assert any(environments)
    assert set().union(*(shown(secrets, environment) for environment in environments)) == set()


def test_airflow_shows_no_secret(flow: Stack, secrets: dict[str, bytes]) -> None:
    """Connections, logs, results of tasks, rendered fields and whatever else its pages take from the API."""
    answers = dict(every_answer(flow, [f"{SIGNED}.{workflow}" for workflow in WORKFLOWS]))

    for part in (f"/connections/{STORED}", "/logs/1", "/xcomEntries/return_value", "/eventLogs", "/dagSources/"):
        assert any(part in path for path in answers)
    assert b"sasl.password" in answers[f"/api/v2/connections/{STORED}"]
    assert {path: names for path, answer in answers.items() if (names := shown(secrets, answer))} == {}
