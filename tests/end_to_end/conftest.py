"""A real Airflow with a secured Kafka, which ends after the last test that uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from include.kafka.connection import KafkaConnection
from include.local.airflow import USERNAME
from include.local.stack import Stack
from tests.support.secrets import Canaries, secured_pipelines, watched_processes
from tests.support.stacks import READER, running_stack
from tests.support.workflows import LARGE, SMALL, run_workflows

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def processes() -> Iterator[dict[bytes, bytes]]:
    """The arguments, with the environment, of all processes that run beside this Airflow."""
    with watched_processes() as seen:
        yield seen


@pytest.fixture(scope="package")
def canaries() -> Canaries:
    """The secrets that this Airflow is given."""
    return Canaries()


@pytest.fixture(scope="package")
def stack(
    tmp_path_factory: pytest.TempPathFactory, processes: dict[bytes, bytes], canaries: Canaries
) -> Iterator[Stack]:
    """A secured Kafka, MLflow's database and Airflow with its scheduler, from a clean home; all DAGs are paused."""
    folder = tmp_path_factory.mktemp("stack")
    environment = {
        "MILLRACE_PIPELINES": str(secured_pipelines(folder / "pipelines")),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USERNAME}:admin,{READER}:viewer",
        **canaries.environment(),
    }
    with running_stack(folder / "state", environment=environment, secure=True) as stack:
        yield stack


@pytest.fixture(scope="package")
def flow(stack: Stack) -> Stack:
    """The stack after the three workflows of the small pipelines have run once, from source to prediction."""
    run_workflows(stack, SMALL)
    return stack


@pytest.fixture(scope="package")
def whole_flow(flow: Stack) -> Stack:
    """The stack after the workflows of all bundled pipelines have run once."""
    run_workflows(flow, LARGE)
    return flow


@pytest.fixture(scope="package")
def kafka(flow: Stack) -> KafkaConnection:
    return KafkaConnection(flow.kafka_settings, timeout_s=30)
