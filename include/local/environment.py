"""The environment that the local stack's processes run in: one place for every setting of Airflow, MLflow and Kafka."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from include.local.ports import LOOPBACK, Ports
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


@dataclass(frozen=True)
class Layout:
    """The paths of the local stack below one state folder (absolute)."""

    state: Path

    @property
    def airflow_home(self) -> Path:
        """Airflow's database, settings, login and logs."""
        return self.state / "airflow"

    @property
    def password_file(self) -> Path:
        """JSON object of user name to password, as Airflow's simple auth manager reads it."""
        return self.airflow_home / "simple_auth_manager_passwords.json.generated"

    @property
    def task_logs(self) -> Path:
        """The logs of tasks."""
        return self.airflow_home / "logs"

    @property
    def directory(self) -> Path:
        """The stack's own files."""
        return self.state / "stack"

    @property
    def record_file(self) -> Path:
        """The record of the running stack; see `include.local.stack_file`."""
        return self.directory / "record.json"

    @property
    def lock_file(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.directory / "lock"

    @property
    def supervisor_log(self) -> Path:
        """Output of the supervisor since the last start."""
        return self.directory / "supervisor.log"

    @property
    def migration_log(self) -> Path:
        """Output of the last migration of MLflow's database."""
        return self.directory / "mlflow-migration.log"

    @property
    def airflow_log(self) -> Path:
        """Output of Airflow's processes since the last start."""
        return self.directory / "airflow.log"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder of state: what a fresh start creates."""
        names = ("models", "mlflow", "runs")
        return (self.airflow_home, self.broker_data, self.directory, *(self.state / name for name in names))

    @property
    def broker_data(self) -> Path:
        """The embedded broker's data folder."""
        return self.state / "broker"


def stack_settings(
    layout: Layout, *, ports: Ports, bootstrap_servers: str, environment: Mapping[str, str]
) -> dict[str, str]:
    """The variables that the stack's processes need in addition to the given environment.

    Those with this stack's place (folders, database, ports, connection) are always the stack's own: an AIRFLOW_HOME of
    another project in a shell's profile must not be used. All others are defaults, which `environment` overrides.
    """
    home, database = layout.airflow_home, layout.airflow_home / "airflow.db"
    connection = {"conn_type": "kafka", "extra": {"bootstrap.servers": bootstrap_servers}}
    fixed = {
        "MILLRACE_STATE": str(layout.state),
        "PYTHONPATH": _joined(str(PROJECT_ROOT), environment.get("PYTHONPATH", "")),
        # `airflow standalone` finds its own commands there.
        "PATH": _joined(str(Path(sys.executable).parent), environment.get("PATH", os.defpath)),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(layout.task_logs),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(layout.task_logs / "dag_processor"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(layout.password_file),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{LOOPBACK}:{ports.api}/execution/",
        f"AIRFLOW_CONN_{CONNECTION.upper()}": json.dumps(connection),
        # Proxies must not be used for this machine.
        **{name: _no_proxy(environment.get(name, "")) for name in ("NO_PROXY", "no_proxy")},
        **ports.settings(),
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
