"""The folder of an export, local or in an object storage, whose files are complete or absent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from include.errors import MillraceError, PermanentError
from include.storage.atomic import whole_file
from include.storage.state import PROJECT_ROOT

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


# fsspec does not say whether a write is atomic. It is known of these: a local file is renamed into place, an object is
# visible when all of it is stored.
LOCAL = ("file", "local")
OBJECT_STORAGES = ("abfs", "abfss", "adl", "gcs", "gs", "s3", "s3a", "s3n")


class ExportRefused(PermanentError):
    """The folder of an export can't be used as it is."""


class ExportUnreachable(MillraceError):
    """The storage of an export did not answer; it may answer at the next attempt."""


def require_whole_files(path: str, protocols: Sequence[str]) -> None:
    """Raise if a file of the storage can be seen before all of it is written, as a killed export would leave it.

    Args:
        path: of `[export]`.
        protocols: the names that fsspec has for the storage.

    Raises:
        ExportRefused: it is none of `LOCAL` and `OBJECT_STORAGES`.
    """
    if set(protocols).isdisjoint((*LOCAL, *OBJECT_STORAGES)):
        raise ExportRefused(
            f"The export's path {path} is on a storage of kind {protocols[0]!r}, on which a killed export may leave a "
            f"part of a file: name a local folder or a URL of {', '.join(OBJECT_STORAGES)} by path of [export]."
        )


class ExportFolder:
    """A folder of the local disk or of an object storage.

    Args:
        path: a local path, relative to the project where it is not absolute, or a URL.
        filesystem: by default the local disk.

    Raises:
        ExportRefused: the storage is of another kind, see `require_whole_files`.

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
        protocol = self._filesystem.protocol
        require_whole_files(path, (protocol,) if isinstance(protocol, str) else protocol)
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
