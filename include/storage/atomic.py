"""Files and directories that are complete or absent even after a kill or on a full disk, and their digest."""

import errno
import glob
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from include.errors import MillraceError
from include.storage.removal import remove_folder
from include.storage.state import make_folder

ASIDE = ".aside-"
# No writer takes so long to fill a directory.
ABANDONED_S = 24 * 3600
BLOCK = 4096

# Some libraries raise other errors with this text: safetensors and MLflow the system's, SQLite its own.
FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "database or disk is full")


class DiskFull(MillraceError):
    """The disk has no room for a write; existing files are unchanged."""


@contextmanager
def whole_file(target: Path, *, size: int | None = None) -> Iterator[Path]:
    """Write the file that is yielded; when the block ends it is on disk, and takes the target's name and place.

    A reader sees the old file or the new one. A block that raises leaves nothing. At the end the unfinished files of
    other writers of this target are removed: killed writers leave such files. A writer that is alive and loses its file
    this way ends without an error, so writers at the same time must write the same content.

    Args:
        size: how many bytes it will have at least, for the refusal.

    Raises:
        DiskFull: it does not fit; a file that was there before stays.
    """
    with explained_if_full(target, size=size):
        _make_folder(target.parent)
        aside = target.parent / f"{ASIDE}{target.name}-{uuid4().hex}"
        try:
            yield aside
            try:
                _sync(aside)
                aside.rename(target)
            except FileNotFoundError:
                if not target.exists():
                    raise
            _sync(target.parent)
        finally:
            aside.unlink(missing_ok=True)
        # As long as a writer's suffix: files of other targets, whose names go on behind this one, are not matched.
        for leftover in target.parent.glob(f"{ASIDE}{glob.escape(target.name)}-{'?' * len(uuid4().hex)}"):
            leftover.unlink(missing_ok=True)


@contextmanager
def whole_directory(target: Path, *, size: int | None = None) -> Iterator[Path]:
    """Yield a directory to fill; when the block ends, its files are synced to disk and it is renamed to `target`.

    A block that raises leaves nothing. A process that dies in it leaves at most a directory whose name begins with
    `.aside-`; see `remove_leftovers`. Without a lease other writers may be alive, also on other machines, so a writer
    removes only what is older than `ABANDONED_S`.

    Args:
        size: how many bytes it will have at least, for the refusal.

    Raises:
        FileExistsError: `target` exists already and is kept as it is.
        DiskFull: it does not fit.
    """
    with explained_if_full(target, size=size):
        _make_folder(target.parent)
        # Two machines, or two containers, may have processes with the same id.
        aside = target.parent / f"{ASIDE}{target.name}-{uuid4().hex}"
        try:
            aside.mkdir()
            _remove_abandoned(aside)
            yield aside
            for folder, _, files in os.walk(aside):
                for name in files:
                    _sync(Path(folder, name))
                _sync(Path(folder))
            try:
                aside.rename(target)
            except OSError as error:
                if not target.exists():
                    raise
                raise FileExistsError(f"{target} exists already and a whole directory never replaces one.") from error
            _sync(target.parent)
        finally:
            remove_folder(target.parent, aside, missing_ok=True)


@contextmanager
def explained_if_full(path: Path, *, size: int | None = None) -> Iterator[None]:
    """Turn any error within the block that means a full disk into `DiskFull`; other errors pass.

    Args:
        path: what is written; it need not exist.
        size: how many bytes it will have at least, where that is known.

    Raises:
        DiskFull: with the path, the bytes that are needed and those that are free.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DiskFull) or not any(sign in str(error) for sign in FULL):
            raise
        raise _disk_full(path, _disk(path)[1], size) from error


def require_room(path: Path, sizes: Iterable[int]) -> None:
    """Raise if files do not fit now, for writers whose own error would not name the cause.

    Args:
        path: where they are written; it need not exist.
        sizes: of the files, in bytes.

    Raises:
        DiskFull: with the path, the bytes that are needed and those that are free.
    """
    total, free = _disk(path)
    needed = sum(-(-size // BLOCK) * BLOCK for size in sizes)
    # Some network file systems report a size of zero.
    if total and needed > free:
        raise _disk_full(path, free, needed)


def _disk(path: Path) -> tuple[int, int]:
    """Total and free bytes of the disk that holds the path, or will hold it."""
    total, _, free = shutil.disk_usage(next(parent for parent in (path, *path.parents) if parent.is_dir()))
    return total, free


def _disk_full(path: Path, free: int, size: int | None) -> DiskFull:
    # Files take whole blocks, so they may not fit although their bytes would.
    known = size is not None and size > free
    needed = f"{size} bytes and {free} are free" if known else f"more than the {free} bytes that are free"
    return DiskFull(
        f"There is no room for {path}, which needs {needed} there: remove what is not needed, or give it a larger "
        "disk, and try again; existing files are unchanged."
    )


def remove_leftovers(parent: Path) -> None:
    """Remove what killed writers have left in `parent`; no writer may be alive."""
    for leftover in parent.glob(f"{ASIDE}*"):
        if leftover.is_dir():
            remove_folder(parent, leftover, missing_ok=True)
        else:
            leftover.unlink(missing_ok=True)


def _remove_abandoned(aside: Path) -> None:
    """Remove directories beside a new one that killed writers have left, also those of other targets.

    A target that is complete has no next writer, so what was left of it goes with the next target of the folder.
    """
    # The time on the disk's own clock, which is the same for all machines that write there.
    now = aside.stat().st_mtime
    for other in aside.parent.glob(f"{ASIDE}*-{'[0-9a-f]' * len(uuid4().hex)}"):
        # Another writer may have ended meanwhile.
        with suppress(FileNotFoundError):
            if other.is_dir() and now - other.stat().st_mtime > ABANDONED_S:
                remove_folder(aside.parent, other, missing_ok=True)


def files_digest(directory: Path, names: Sequence[str]) -> str:
    """SHA-256 over the names and contents of the files, in the order given, in hexadecimal.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    digest = hashlib.sha256()
    for name in names:
        with (directory / name).open("rb") as file:
            # Both digests have a fixed length, so no content can pass for the next file's name.
            digest.update(hashlib.sha256(name.encode()).digest())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _make_folder(path: Path) -> None:
    """Make a folder with its parents, each of them on disk before anything is in it."""
    if not path.is_dir():
        _make_folder(path.parent)
        make_folder(path)
        _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
