"""MLflow databases for tests: a migration takes seconds, so one database is migrated and copied."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from include.registry.tracking import migrate


def put_database(state: Path) -> None:
    """Put a migrated database into a state folder."""
    (state / "mlflow").mkdir(parents=True)
    shutil.copy(_migrated(), state / "mlflow")


@cache
def _migrated() -> Path:
    path = Path(tempfile.mkdtemp(prefix="millrace-mlflow-"), "mlflow.db")
    migrate(f"sqlite:///{path}")
    return path
