"""Airflow connections as the library takes them: signing keys that show up nowhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.headers import headers_of
from include.kafka.signing import InvalidSigningKeys
from millrace.connection import NoConnection, connection_keys, schema_registry
from millrace.operators import EnsureTopicsOperator, ProduceBatchOperator
from tests.support.assertions import assert_readable
from tests.support.consumers import committed_records
from tests.support.operators import DagRun, context_of
from tests.support.signed_records import KEYS, RETIRED, SECRET

CONNECTION: dict[str, Any] = {
    "conn_type": "generic",
    "login": "2026",
    "password": SECRET,
    "extra": {"retired_secrets": {"2025": RETIRED}},
}


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the connection `signing_keys`; values replace those of `CONNECTION`."""

    def set_connection(**replaced: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SIGNING_KEYS", json.dumps({**CONNECTION, **replaced}))

    return set_connection


def test_login_and_password_sign_and_retired_secrets_verify(keys: Callable[..., None]) -> None:
    keys()

    assert connection_keys("signing_keys") == KEYS


def test_without_retired_secrets_there_is_one_key(keys: Callable[..., None]) -> None:
    keys(extra=None)

    assert connection_keys("signing_keys").secrets == {"2026": SECRET}


def test_secrets_are_hidden_in_logs(keys: Callable[..., None]) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    keys()
    connection_keys("signing_keys")

    assert redact(f"{SECRET} and {RETIRED}") == "*** and ***"


@pytest.mark.parametrize(
    ("replaced", "kind", "named"),
    [
        ({"login": None}, NoConnection, "login"),
        ({"password": None}, NoConnection, "password"),
        ({"password": "short"}, InvalidSigningKeys, "5 bytes"),
        ({"login": "a/b"}, InvalidSigningKeys, "a/b"),
        ({"extra": {"retired_secrets": {"2025": "tiny"}}}, InvalidSigningKeys, "2025"),
        ({"extra": {"retired_secrets": RETIRED}}, NoConnection, "retired_secrets"),
        ({"extra": {"retired_secrets": {"2025": 1}}}, NoConnection, "retired_secrets"),
    ],
)
def test_a_connection_that_can_not_be_used_is_refused(
    keys: Callable[..., None], replaced: dict[str, Any], kind: type[Exception], named: str
) -> None:
    keys(**replaced)

    with pytest.raises(kind) as refusal:
        connection_keys("signing_keys")

    assert_readable(refusal.value, named)
    assert SECRET not in str(refusal.value)
    assert RETIRED not in str(refusal.value)


@pytest.fixture
def pipeline(kafka: KafkaConnection, new_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A pipeline of signed records: the floor is the last line of its file."""
    return new_pipeline(floor='0.9\n[signing]\nconnection = "signing_keys"\naudience = "shoes"')


def test_an_operator_signs_with_the_pipeline_s_keys(
    keys: Callable[..., None], kafka: KafkaConnection, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    keys()
    caplog.set_level(logging.DEBUG)
    EnsureTopicsOperator(task_id="t", pipeline=pipeline.name).execute(context_of(DagRun("d", "r")))

    ProduceBatchOperator(task_id="t", pipeline=pipeline.name, records=20).execute(context_of(DagRun("d", "r")))

    records = committed_records(kafka, pipeline.samples_topic)
    assert records
    ours = replace(KEYS, audience="shoes")
    assert [ours.verify(record, headers_of([record])[0])[1] for record in records] == [None] * len(records)
    assert SECRET not in caplog.text


def test_a_missing_connection_fails_without_a_retry(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    with pytest.raises(AirflowFailException, match="Airflow has no connection 'signing_keys' for signing"):
        EnsureTopicsOperator(task_id="t", pipeline=pipeline.name).execute(context_of(DagRun("d", "r")))


def test_a_schema_registry_is_where_its_connection_says_and_its_password_is_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    given = {
        "conn_type": "http",
        "host": "registry",
        "port": 8081,
        "schema": "https",
        "login": "me",
        "password": SECRET,
    }
    monkeypatch.setenv("AIRFLOW_CONN_SCHEMAS", json.dumps({**given, "extra": {"ssl.ca.location": "/ca.pem"}}))

    registry = schema_registry("schemas")

    assert registry.url == "https://registry:8081"
    assert registry.settings["basic.auth.user.info"] == f"me:{SECRET}"
    assert registry.settings["ssl.ca.location"] == "/ca.pem"
    assert SECRET not in repr(registry)
    assert SECRET not in str(redact(f"me:{SECRET}"))


def test_a_schema_registry_without_a_connection_is_refused() -> None:
    with pytest.raises(NoConnection) as refusal:
        schema_registry("schemas")
    assert_readable(refusal.value, "AIRFLOW_CONN_SCHEMAS")
