"""The environment that the local stack's processes run in: one place for every setting of Airflow, MLflow and Kafka."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from include.local.ports import API_PORT, LOOPBACK, MLFLOW_PORT
from include.registry.tracking import MLFLOW_UI, server_address
from include.storage.state import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

# The connection that a pipeline uses unless it names another.
CONNECTION = "kafka_default"

# For one developer's machine with two cores or more. A variable that is set already keeps its value.
_TUNING = {
    # The UI's login is an administrator's: access from other machines must be a decision.
    "AIRFLOW__API__HOST": LOOPBACK,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    # The UI and the API hide a connection's passwords and secrets, and these settings of Kafka only with this.
    # Airflow compares them with a setting's name in which every full stop is a `_`.
    "AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES": "key_pem,jaas,oauthbearer_config",
    "AIRFLOW__CORE__PARALLELISM": "4",
    # Airflow's default uses DNS, which takes seconds on offline machines.
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
    # Between two tasks the scheduler sleeps for this long (default: 1 s).
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
    # Tasks of a killed stack are rescheduled within a minute (default: up to 5 minutes).
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    # How long a task waits for the API server (default: 5 s), which is slow on a busy machine, and how often it tries
    # (default: 5 times, perhaps 6 s in all): the scheduler starts tasks before that server is up.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "15",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "5",
    # A new workflow file shows within this time (default: 5 minutes); a new pipeline file needs no such setting.
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

_RELATIVE_PATHS = ("MILLRACE_PIPELINES", "MILLRACE_JARS")


class Layout:
    """The paths of the local stack below one state folder (absolute).

    Attributes:
        airflow_home: Airflow's database, settings, login and logs.
        password_file: JSON object of user name to password, as Airflow's simple auth manager reads it.
        task_logs: the logs of tasks, `dag_id=.../run_id=.../task_id=.../attempt=N.log`.
        broker_data: the embedded broker's data folder.
        directory: the stack's own files.
        record_file: the record of the running stack; see `include.local.stack_file`.
        lock_file: held by the supervisor for as long as it lives.
        supervisor_log: output of the supervisor since the last start.
        folders: every folder of state: what a fresh start creates.
        secured: the whole state of a stack with a secured broker.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.airflow_home = state / "airflow"
        self.password_file = self.airflow_home / "simple_auth_manager_passwords.json.generated"
        self.task_logs = self.airflow_home / "logs"
        self.broker_data = state / "broker"
        self.directory = state / "stack"
        self.record_file = self.directory / "record.json"
        self.lock_file = self.directory / "lock"
        self.supervisor_log = self.directory / "supervisor.log"
        others = (state / name for name in ("models", "mlflow", "runs"))
        self.folders = (self.airflow_home, self.broker_data, self.directory, *others)
        self.secured = state / "secured"

    def log_file(self, part: str) -> Path:
        """The output of one of Airflow's processes, or of a migration, since the last start."""
        return self.directory / f"{part}.log"


def connection_variable(name: str) -> str:
    """The environment variable that Airflow reads a connection from."""
    return f"AIRFLOW_CONN_{name.upper()}"


def replaced_connections(connections: Mapping[str, Mapping[str, str]], environment: Mapping[str, str]) -> list[str]:
    """Sentences about the connections that somebody has set and that the stack replaces by those to its own broker."""
    variables = [variable for name in connections if environment.get(variable := connection_variable(name))]
    return [
        f"{variable} is set, and this stack replaces it by the connection to its own broker: name your cluster's "
        "connection otherwise, and give that name as `connection` in the pipeline's file."
        for variable in variables
    ]


def stack_settings(
    layout: Layout, *, ports: Mapping[str, str], kafka: Mapping[str, Mapping[str, str]], environment: Mapping[str, str]
) -> dict[str, str]:
    """The variables that the stack's processes need in addition to the given environment.

    Those with this stack's place (folders, database, ports, connection) are always the stack's own: an AIRFLOW_HOME of
    another project in a shell's profile must not be used. All others are defaults, which `environment` overrides.

    Args:
        kafka: librdkafka's settings by the name of the connection.
    """
    home, database = layout.airflow_home, layout.airflow_home / "airflow.db"
    connections = {
        connection_variable(name): json.dumps({"conn_type": "kafka", "extra": dict(settings)})
        for name, settings in kafka.items()
    }
    fixed = {
        "MILLRACE_STATE": str(layout.state),
        "PYTHONPATH": _joined(str(PROJECT_ROOT), environment.get("PYTHONPATH", "")),
        "PATH": _joined(str(Path(sys.executable).parent), environment.get("PATH", os.defpath)),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "AIRFLOW__CORE__EXECUTOR": "millrace.local_executor.AdoptingLocalExecutor",
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(layout.task_logs),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(layout.task_logs / "dag_processor"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(layout.password_file),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{LOOPBACK}:{ports[API_PORT]}/execution/",
        MLFLOW_UI: server_address() or (f"http://{LOOPBACK}:{ports[MLFLOW_PORT]}" if MLFLOW_PORT in ports else ""),
        **connections,
        # Proxies must not be used for this machine.
        **{name: _no_proxy(environment.get(name, "")) for name in ("NO_PROXY", "no_proxy")},
        **ports,
    }
    # The supervisor runs in another working folder than the caller.
    fixed |= {name: str(Path(environment[name]).absolute()) for name in _RELATIVE_PATHS if environment.get(name)}
    return {**{name: environment.get(name) or value for name, value in _TUNING.items()}, **fixed}


def _joined(first: str, rest: str) -> str:
    entries = [entry for entry in rest.split(os.pathsep) if entry and entry != first]
    return os.pathsep.join([first, *entries])


def _no_proxy(hosts: str) -> str:
    known = [host for host in hosts.split(",") if host]
    return ",".join([*known, *(host for host in (LOOPBACK, "localhost") if host not in known)])
