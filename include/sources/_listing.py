"""The files below a folder of any fsspec filesystem, with their times of change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from include.sources._links import Links
from include.sources.base import SourceRefused

if TYPE_CHECKING:
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


def files_below(filesystem: AbstractFileSystem, root: str, folder: str, links: Links) -> Iterator[File]:
    """Every file below `root`, or `root` itself if it is a file, in no order.

    Args:
        folder: what names are relative to.
        links: decide which links are followed, and count the others.

    Raises:
        SourceRefused: something is neither a file nor a folder, or has no modification time.
        OSError: a folder can't be listed.
    """
    # Each folder with the real paths of those that hold the links which led to it, and with its own.
    folders: list[tuple[str, tuple[str, ...]]] = [(root, (links.real_path(root),))]
    # Not `find`, which treats an unreadable folder as an empty one.
    while folders:
        here, holders = folders.pop()
        for entry in filesystem.ls(here, detail=True):
            path = str(entry["name"]).rstrip("/")
            is_link = entry.get("islink", False) or entry["type"] == "link"
            if is_link and path != root and path.rpartition("/")[2].startswith("."):
                continue  # editors keep their locks in such links, which lead to nothing
            # A listing shows the link itself, so ask for its target.
            info = links.target(path, holders) if is_link and path != root else entry
            if info is None:
                continue
            if info["type"] == "file":
                yield File(_changed(filesystem, info), path.removeprefix(folder).lstrip("/"), int(info["size"]))
            elif info["type"] != "directory":
                raise SourceRefused(f"Path {path!r} is neither a file nor a folder: remove it.")
            elif path != root:
                inner = f"{holders[-1]}/{path.rpartition('/')[2]}"
                folders.append((path, (*holders, links.real_path(path)) if is_link else (*holders[:-1], inner)))


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
