"""The folder of the project's local state: databases, logs, the embedded broker's data."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def state_dir() -> Path:
    """Return the absolute folder of all state: `MILLRACE_STATE` where set, else `.millrace` in the project root.

    The folder is not created here.
    """
    chosen = os.environ.get("MILLRACE_STATE", "")
    return Path(chosen).expanduser().resolve() if chosen else PROJECT_ROOT / ".millrace"
