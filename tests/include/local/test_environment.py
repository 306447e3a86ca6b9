"""The environment of the stack's processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.local.environment import Layout, replaced_connections, stack_settings
from include.local.ports import API_PORT, TRIGGER_LOG_PORT, WORKER_LOG_PORT
from include.storage.state import PROJECT_ROOT

PORTS = {API_PORT: "8081", WORKER_LOG_PORT: "8793", TRIGGER_LOG_PORT: "8794"}


def settings(state: Path, **environment: str) -> dict[str, str]:
    return stack_settings(
        Layout(state),
        ports=PORTS,
        kafka={"kafka_default": {"bootstrap.servers": "127.0.0.1:29092"}},
        environment=environment,
    )


def test_the_home_of_another_project_is_not_used(tmp_path):
    made = settings(
        tmp_path,
        AIRFLOW_HOME="/elsewhere",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="postgresql://elsewhere",
        AIRFLOW__CORE__DAGS_FOLDER="/elsewhere/dags",
        MILLRACE_STATE="/elsewhere",
    )
    assert made["AIRFLOW_HOME"] == str(tmp_path / "airflow")
    assert made["AIRFLOW__CORE__DAGS_FOLDER"] == str(PROJECT_ROOT / "dags")
    assert made["MILLRACE_STATE"] == str(tmp_path)
    assert not [name for name, value in made.items() if "elsewhere" in value]


def test_a_setting_that_the_user_has_made_stays(tmp_path):
    assert settings(tmp_path)["AIRFLOW__CORE__PARALLELISM"] == "4"
    assert settings(tmp_path, AIRFLOW__CORE__PARALLELISM="7")["AIRFLOW__CORE__PARALLELISM"] == "7"


def test_the_connection_is_the_brokers(tmp_path):
    connection = json.loads(settings(tmp_path)["AIRFLOW_CONN_KAFKA_DEFAULT"])
    assert connection == {"conn_type": "kafka", "extra": {"bootstrap.servers": "127.0.0.1:29092"}}


def test_a_connection_that_the_stack_replaces_is_named():
    ours = {"kafka_default": {}, "kafka_ingest": {}}
    own = {"AIRFLOW_CONN_KAFKA_DEFAULT": '{"conn_type": "kafka"}', "AIRFLOW_CONN_MY_CLUSTER": "{}"}

    [sentence] = replaced_connections(ours, own)

    assert sentence.startswith("AIRFLOW_CONN_KAFKA_DEFAULT is set, and this stack replaces it")
    assert replaced_connections(ours, {}) == []


def test_tasks_find_the_api_on_the_port_that_was_chosen(tmp_path):
    made = settings(tmp_path)
    assert made["AIRFLOW__API__PORT"] == "8081"
    assert made["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8081/execution/"


def test_the_project_comes_first_on_the_path_of_modules(tmp_path):
    assert settings(tmp_path, PYTHONPATH=f"/a:{PROJECT_ROOT}:/b")["PYTHONPATH"] == f"{PROJECT_ROOT}:/a:/b"


@pytest.mark.parametrize("hosts", ["", "example.org", "127.0.0.1", "localhost,example.org"])
def test_no_proxy_is_asked_for_the_way_to_this_machine(tmp_path, hosts):
    made = settings(tmp_path, NO_PROXY=hosts)["NO_PROXY"].split(",")
    assert {"127.0.0.1", "localhost"} <= set(made)
    assert set(filter(None, hosts.split(","))) <= set(made)
    assert len(made) == len(set(made))


def test_a_folder_named_relative_to_the_caller_is_found_by_the_stack(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings(tmp_path, MILLRACE_PIPELINES="mine")["MILLRACE_PIPELINES"] == str(tmp_path / "mine")
