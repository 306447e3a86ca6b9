"""Folders for files with chosen modification times: on the local disk, and in fsspec's memory filesystem."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from fsspec.implementations.memory import MemoryFileSystem

# A day in the past, in seconds since the epoch; the tests' files are modified some seconds after it.
DAY = 1_767_225_600.0


class Folder(ABC):
    """A folder; `path` is its path in a pipeline's file."""

    path: str

    @abstractmethod
    def write(self, name: str, content: bytes = b"content", *, second: float = 0) -> None:
        """Write a file with a modification time of `second` seconds after midnight."""

    @abstractmethod
    def remove(self, name: str) -> None: ...


class LocalFolder(Folder):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = str(folder)

    def write(self, name: str, content: bytes = b"content", *, second: float = 0) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (DAY + second, DAY + second))

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()


class MemoryFolder(Folder):
    """Like an object storage, it has folders only in its objects' names."""

    def __init__(self) -> None:
        self.path = f"memory://{uuid4().hex}"
        self._files = MemoryFileSystem()

    def write(self, name: str, content: bytes = b"content", *, second: float = 0) -> None:
        self._files.pipe_file(f"{self.path}/{name}", content)
        path = self._files._strip_protocol(f"{self.path}/{name}")
        self._files.store[path].created = datetime.fromtimestamp(DAY + second, UTC)

    def remove(self, name: str) -> None:
        self._files.rm_file(f"{self.path}/{name}")
