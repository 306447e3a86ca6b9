"""The files below a folder of any fsspec filesystem, with their times of change."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from include.sources.base import SourceRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsspec import AbstractFileSystem

# The keys of the modification time: local, S3, Azure, Google, memory.
TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")


class File(NamedTuple):
    """A file of a listing; files are in the order of their fields.

    Attributes:
        changed: its time of change, in seconds since the epoch.
        name: its path below a folder, with `/` between the parts.
    """

    changed: float
    name: str
    size: int


def files_below(filesystem: AbstractFileSystem, root: str, folder: str) -> Iterator[File]:
    """Every file below `root`, or `root` itself if it is a file, in no order; links are followed.

    Args:
        folder: what names are relative to.

    Raises:
        SourceRefused: something is neither a file nor a folder, or has no modification time.
        OSError: a folder can't be listed.
    """
    # Not `find`, which treats an unreadable folder as an empty one.
    folders = [root]
    while folders:
        for entry in filesystem.ls(folders.pop(), detail=True):
            path = str(entry["name"]).rstrip("/")
            # A listing shows the link itself, so ask for its target.
            info = entry if entry["type"] in ("file", "directory") else filesystem.info(path)
            if info["type"] == "file":
                yield File(_changed(filesystem, info), path.removeprefix(folder).lstrip("/"), int(info["size"]))
            elif info["type"] != "directory":
                raise SourceRefused(f"Path {path!r} is neither a file nor a folder: remove it.")
            elif path != root:
                folders.append(path)


def _changed(filesystem: AbstractFileSystem, info: dict[str, Any]) -> float:
    changed = next((info[key] for key in TIMES if info.get(key) is not None), None)
    if changed is None:
        try:
            changed = filesystem.modified(info["name"])
        except NotImplementedError as error:
            raise SourceRefused(
                f"The filesystem of {info['name']!r} has no modification times, which show new files: copy the "
                "files to one that does."
            ) from error
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    return float(changed.timestamp()) if isinstance(changed, datetime) else float(changed)
