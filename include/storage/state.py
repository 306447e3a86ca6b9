"""The folder of the project's local state: databases, logs, the embedded broker's data."""

import os
import stat
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def state_dir() -> Path:
    """Return the absolute folder of all state: `MILLRACE_STATE` where set, else `.millrace` in the project root.

    The folder is not created here; see `make_folder`.
    """
    chosen = os.environ.get("MILLRACE_STATE", "")
    return Path(chosen).expanduser().resolve() if chosen else PROJECT_ROOT / ".millrace"


def make_folder(folder: Path, *, private: bool = False) -> None:
    """Create a folder with its parents; the state folder, where that is missing, for this user only.

    The state is the records of all topics, the models and MLflow's database, in files with the modes that other
    programs give them. A folder that exists keeps its mode: somebody may share it on purpose.

    Args:
        private: whether only this user can enter the folder.
    """
    if folder.is_relative_to(state := state_dir()):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700 if private else 0o777, exist_ok=True)


def is_open_to_others(folder: Path) -> bool:
    """Whether users that are not in the folder's group can enter or list it."""
    return bool(folder.stat().st_mode & stat.S_IRWXO)
