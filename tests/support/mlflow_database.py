"""MLflow databases for tests: migrating takes seconds, so it is done once, and copied."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from include.registry.tracking import migrate


def put_database(state: Path) -> None:
    """Give a state folder a migrated database of its own."""
    (state / "mlflow").mkdir(parents=True)
    shutil.copy(_migrated(), state / "mlflow")


@cache
def _migrated() -> Path:
    path = Path(tempfile.mkdtemp(prefix="millrace-mlflow-"), "mlflow.db")
    migrate(f"sqlite:///{path}")
    return path
