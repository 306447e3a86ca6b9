"""Removing folders: only below a root that the code names, so that no value from outside leads anywhere else."""

import shutil
from pathlib import Path

from include.errors import PermanentError


class OutsideRoot(PermanentError):
    """A path that is made from another program's value leads out of its folder."""


def below(root: Path, path: Path) -> Path:
    """The path, which is strictly below `root`, also where links lead to it; neither needs to exist.

    Raises:
        OutsideRoot: it is not.
    """
    # The last part is not followed: a link is an entry of the folder that it is in.
    inside = "\0" not in str(path) and path.parent.resolve().is_relative_to(root.resolve())
    if not inside or path.name in ("", ".."):
        raise OutsideRoot(
            f"The path {str(path)!r} is not below {root}: nothing was read, written or removed there; correct the "
            "value that it was made from."
        )
    return path


def remove_folder(root: Path, folder: Path, *, missing_ok: bool = False) -> None:
    """Remove a folder and all that is in it; nothing else in the project does.

    Args:
        root: the folder that `folder` has to be below.
        missing_ok: leave what is missing or can't be removed.

    Raises:
        OutsideRoot: `folder` is not below `root`; nothing was removed.
        OSError: it can't be removed, or it is a link.
    """
    shutil.rmtree(below(root, folder), ignore_errors=missing_ok)  # noqa: TID251 - the one place, see pyproject.toml
