"""The folder of an export, local or in an object storage, whose files are complete or absent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from include.errors import MillraceError, PermanentError
from include.storage.atomic import whole_file
from include.storage.state import PROJECT_ROOT

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


class ExportRefused(PermanentError):
    """The folder of an export can't be used as it is."""


class ExportUnreachable(MillraceError):
    """The storage of an export did not answer; it may answer at the next attempt."""


class ExportFolder:
    """A folder of any fsspec filesystem.

    Args:
        path: a local path, relative to the project where it is not absolute, or a URL.
        filesystem: by default the local disk.

    Raises, from any method:
        ExportRefused: the folder is missing, or may not be read or written.
        ExportUnreachable: the storage did not answer.
        DiskFull: no space is left.
    """

    def __init__(self, path: str, filesystem: AbstractFileSystem | None = None) -> None:
        from fsspec.implementations.local import LocalFileSystem

        if filesystem is None and "://" in path.removeprefix("file://"):
            raise ExportRefused(
                f"The export's path {path} is not a local path: name the Airflow connection of its storage by "
                "connection in [export]."
            )
        self.path = path
        self._filesystem = filesystem or LocalFileSystem()
        self._local = isinstance(self._filesystem, LocalFileSystem)
        if self._local and "://" not in path:
            path = str(PROJECT_ROOT / Path(path).expanduser())
        self._root = str(self._filesystem._strip_protocol(path)).rstrip("/")

    def has(self, name: str) -> bool:
        with self._explained():
            return bool(self._filesystem.exists(f"{self._root}/{name}"))

    def names(self, beginning: str) -> list[str]:
        """The names of the files in its subfolders that begin with a text."""
        with self._explained():
            self._filesystem.invalidate_cache()
            found: list[str] = []
            for folder in self._entries(self._root):
                if folder["type"] == "directory":
                    files = (str(entry["name"]).rpartition("/")[2] for entry in self._entries(folder["name"]))
                    found.extend(name for name in files if name.startswith(beginning))
        return found

    def put(self, name: str, content: bytes) -> None:
        """Create or replace a file; no reader of the folder ever sees a part of it."""
        target = f"{self._root}/{name}"
        with self._explained():
            if self._local:
                with whole_file(Path(target), size=len(content)) as aside:
                    aside.write_bytes(content)
            else:
                # Object storages make an object visible when all of it is stored.
                self._filesystem.pipe_file(target, content)

    def _entries(self, folder: str) -> list[dict[str, str]]:
        try:
            entries: list[dict[str, str]] = self._filesystem.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        return entries

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            where = f"The export's path {self.path}"
            if isinstance(error, PermissionError):
                raise ExportRefused(
                    f"{where} may not be read or written ({reason}): give this process the right to, or correct "
                    "connection of [export]."
                ) from error
            if isinstance(error, FileNotFoundError | NotADirectoryError | FileExistsError):
                raise ExportRefused(
                    f"{where} can't hold files ({reason}): correct path of [export], or create the bucket."
                ) from error
            raise ExportUnreachable(f"{where} can't be used ({reason}): check the storage and try again.") from error
