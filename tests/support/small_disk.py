"""A disk that is small enough to be full when a test wants it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import SkipTest

from include.storage.atomic import ASIDE

SIZE = 8 * 1024 * 1024


@dataclass(frozen=True)
class SmallDisk:
    """A file system of `SIZE` bytes and the file that takes up its room."""

    path: Path

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    def leave(self, size: int) -> None:
        """Leave room for so many bytes, in whole pages."""
        self.release()
        room = shutil.disk_usage(self.path).free - size
        assert room >= 0, f"{self.path} has no room for {size} bytes more"
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room)

    def release(self) -> None:
        self._filler.unlink(missing_ok=True)

    def leftovers(self) -> list[Path]:
        """Temporary files of unfinished writes."""
        return [path for path in self.path.rglob("*") if path.name.startswith((ASIDE, ".artifact.uploading"))]


@contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    """Mount one there.

    Raises:
        unittest.SkipTest: this process may not mount a disk.
    """
    path.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        raise SkipTest(f"A small disk can't be mounted here: {mounted.stderr.strip()}.")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
