"""MLflow's own interface over the stack's database; nothing waits for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from include.local.airflow import Component
from include.local.ports import LOOPBACK, MLFLOW_PORT
from include.registry.tracking import artifact_root, server_address, tracking_uri

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "mlflow"


def mlflow_interface(environment: Mapping[str, str], log: Path) -> Component | None:
    """The process of the interface, not started yet; None where a server is used, which has an interface of its own.

    Args:
        environment: of the process; its port is read from it.
    """
    if server_address():
        return None
    settings = {
        # Not as arguments, which every user of the machine may read: an address may hold a password.
        "MLFLOW_BACKEND_STORE_URI": tracking_uri(),
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifact_root().as_uri(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    # One worker of its default four: each has some hundred megabytes.
    command = [sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--workers", "1"]
    return Component(NAME, [*command, "--port", environment[MLFLOW_PORT]], {**environment, **settings}, log)
