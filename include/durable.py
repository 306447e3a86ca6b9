"""Directories that are there whole or not at all, whatever is killed meanwhile, and the digest that proves it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ASIDE = ".aside-"


@contextmanager
def whole_directory(target: Path) -> Iterator[Path]:
    """Fill the directory that is yielded; it gets its name when the block ends, every file on disk before.

    A block that raises, or a process that dies in it, leaves at most a directory whose name begins with `.aside-`; see
    `remove_leftovers`.

    Raises:
        FileExistsError: `target` exists already and is kept as it is.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f"{ASIDE}{target.name}-{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        for folder, _, files in os.walk(aside):
            for name in files:
                _sync(Path(folder, name))
            _sync(Path(folder))
        try:
            aside.rename(target)
        except OSError as error:
            if target.exists():
                raise FileExistsError(f"{target} exists already and a whole directory never replaces one.") from error
            raise
        _sync(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(parent: Path) -> None:
    """Remove what killed writers left in `parent`; the caller knows that nobody writes there now."""
    for leftover in parent.glob(f"{ASIDE}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def files_digest(directory: Path, names: Sequence[str]) -> str:
    """SHA-256 over the names and contents of the files, in the order given, in hexadecimal.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    digest = hashlib.sha256()
    for name in names:
        with (directory / name).open("rb") as file:
            # Of fixed length each, so that no content can be taken for the next file's name.
            digest.update(hashlib.sha256(name.encode()).digest())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
