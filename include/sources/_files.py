"""Base of the sources over files: any fsspec filesystem, and an order in which new files come last.

In an order by name a new file could come between files that were sent, and would never be sent itself. So files are
ordered by modification time, then by path, and a file counts when it has not changed for `settle_s` seconds: a batch
has no file that is still being written, and none that concurrent writers add out of order.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, PrivateAttr

from include.sources._links import Links, is_below, is_local, real_path
from include.sources._listing import File, files_below
from include.sources.base import READ_BYTES, Source, SourceChanged, SourceRefused, SourceUnreachable
from include.storage.state import PROJECT_ROOT

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)

# A URL without a connection has one of these. fsspec knows others, and some of them run commands or unpack archives.
SCHEMES = frozenset(
    {"abfs", "abfss", "adl", "az", "file", "gcs", "gs", "http", "https", "memory", "s3", "s3a", "sftp", "ssh"}
)


class FileSource(Source):
    """Files below `path`: a local path, relative to the project where it is not absolute, or a URL that fsspec knows.

    Names, sizes and times of all files are in memory while a batch is sent, about 280 bytes a file; contents are not,
    see `contents`.

    Args:
        suffixes: endings of the names that count, in any case; empty for all files. Files and folders whose name begins
            with a full stop never count.
        settle_s: seconds for which a file must not have changed.
        connection: the Airflow connection of an object storage; `on` takes its filesystem.
        follow_links: whether a symbolic link that leads out of `path` counts as what it leads to. Without it such a
            link is left out, as those always are that lead to nothing or to a folder that they are in.
    """

    path: Annotated[str, Field(min_length=1)]
    suffixes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    settle_s: Annotated[float, Field(ge=0, le=7 * 86_400)] = 10
    connection: Annotated[str, Field(min_length=1)] | None = None
    follow_links: bool = False

    _given: AbstractFileSystem | None = PrivateAttr(None)
    _files: list[File] | None = PrivateAttr(None)
    _folder: str = PrivateAttr("")
    _left_out: tuple[str, ...] = PrivateAttr(())

    def on(self, filesystem: AbstractFileSystem) -> Self:
        """This source on a filesystem that was made with credentials, which no pipeline file holds."""
        source = self.open()
        source._given = filesystem
        return source

    def open(self) -> Self:
        source = self.model_copy()
        source._files = None
        return source

    def files(self) -> list[File]:
        """All files in the order of positions; listed once, see `open`.

        Raises:
            SourceRefused: there is no such folder, no file that counts, or a file whose name is not UTF-8.
        """
        if self._files is None:
            filesystem, root = self.resolved(self.path)
            with self.explained(self.path):
                filesystem.invalidate_cache()
                self._folder = root.rpartition("/")[0] if filesystem.isfile(root) else root
                links = Links(filesystem, self._folder, self.follow_links)
                found = files_below(filesystem, root, self._folder, links)
                self._files = sorted(file for file in found if self._includes(file))
            self._left_out = tuple(links.sentences())
            for sentence in self._left_out:
                log.warning("Links are left out: %s.", sentence)
            if not self._files:
                ends = f" that ends with {' or '.join(self.suffixes)}" if self.suffixes else ""
                what, fix = f"Folder {self.path} holds no file{ends}", "or fill it"
                if filesystem.isfile(root):
                    what, fix = f"{self.path} is no file{ends}", "or rename or convert the file"
                raise SourceRefused(self.with_links(f"{what}: correct path or suffixes of [source], {fix}."))
        return self._files

    def with_links(self, sentence: str) -> str:
        """The sentence, with a clause on the links of `files()` that are left out."""
        return "; ".join((sentence.rstrip("."), *self._left_out)) + "."

    def settled(self) -> list[File]:
        """The first files, which have not changed for `settle_s`."""
        until = time.time() - self.settle_s
        return [file for file in self.files() if file.changed <= until]

    def uncounted(self) -> str:
        files, settled = self.files(), self.settled()
        if len(settled) == len(files):
            return ""
        return (
            f"{len(files) - len(settled)} of {len(files)} files of {self.path} are left for a later batch: "
            f"{files[len(settled)].name} changed less than settle_s = {self.settle_s:g} s ago, or is dated in the "
            "future."
        )

    def contents(self, files: Sequence[File]) -> list[bytes]:
        """The whole content of the first files, as many as `READ_BYTES` hold and one at least.

        Raises:
            SourceChanged: one of them is gone.
        """
        taken, size = 0, 0
        for file in files:
            size += file.size
            if taken and size > READ_BYTES:
                break
            taken += 1
        return self._ranges([self.path_of(file) for file in files[:taken]], None)

    def heads(self, files: Sequence[File], size: int) -> list[bytes]:
        """The first `size` bytes of each file.

        Raises:
            SourceChanged: one of them is gone.
        """
        return self._ranges([self.path_of(file) for file in files], size)

    def _ranges(self, paths: list[str], end: int | None) -> list[bytes]:
        """The content of each path, up to a byte."""
        self._check_inside(paths)
        contents: list[bytes | Exception]
        if is_local(self.filesystem()):
            # fsspec takes three times as long.
            contents = [_content(path, end) for path in paths]
        else:
            # Not `cat`, which reads brackets in a name as a pattern. Network filesystems fetch these concurrently.
            contents = self.filesystem().cat_ranges(paths, None if end is None else 0, end)
        read: list[bytes] = []
        for path, content in zip(paths, contents, strict=True):
            with self.explained(path, gone=SourceChanged):
                if isinstance(content, Exception):
                    raise content
            read.append(content)
        return read

    def _check_inside(self, paths: list[str]) -> None:
        """Compare the real paths of local files with the folder: one may have become a link since it was listed."""
        if self.follow_links or not is_local(self.filesystem()):
            return
        root = real_path(self._folder)
        folders = {path.rpartition("/")[0] for path in paths}
        for path in chain(folders, filter(os.path.islink, paths)):
            if not is_below(real_path(path), root):
                raise SourceChanged(
                    f"Path {path} has become a link that leads out of {self.path}: restore the file, or set "
                    "follow_links = true in [source]."
                )

    def filesystem(self) -> AbstractFileSystem:
        return self.resolved(self.path)[0]

    def path_of(self, file: File) -> str:
        """The path of a file of `files()` in the filesystem."""
        return f"{self._folder}/{file.name}"

    @contextmanager
    def explained(self, path: str, *, gone: type[SourceRefused | SourceChanged] = SourceRefused) -> Iterator[None]:
        """Turn a filesystem's errors into errors of this source, each one sentence."""
        try:
            yield
        except OSError as error:
            where = f"Path {error.filename or path}"
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise gone(
                    f"{where} does not exist or is no folder: correct path of [source], or restore it."
                ) from error
            if isinstance(error, PermissionError):
                raise SourceRefused(
                    f"{where} may not be read ({error.strerror or error}): give this process the right to, or correct "
                    "the connection of [source]."
                ) from error
            raise SourceUnreachable(f"{where} can't be read ({error.strerror or error}): look at it.") from error

    def resolved(self, path: str) -> tuple[AbstractFileSystem, str]:
        """The filesystem of a path of [source], and where it is on that."""
        import fsspec

        if self._given is not None:
            return self._given, str(self._given._strip_protocol(path)).rstrip("/")
        if self.connection is not None:
            raise SourceRefused(
                f"Path {path} is reached by the Airflow connection {self.connection!r}, which only a task has: "
                "run the pipeline's ingest DAG, or hand the filesystem to the source's method on()."
            )
        scheme, is_url, _ = path.partition("://")
        if is_url and (scheme not in SCHEMES or "::" in path):
            raise SourceRefused(
                f"The path {path!r} of [source] has the scheme {scheme!r} and those of URLs are "
                f"{', '.join(sorted(SCHEMES))}, one of them: copy the files to such a storage, or name an Airflow "
                "connection of this one by connection in [source]."
            )
        if not is_url:
            # Not by its URL, in which `::` would divide it.
            local = fsspec.filesystem("file")
            return local, str(local._strip_protocol(path if path.startswith("~") else str(PROJECT_ROOT / path)))
        try:
            filesystem, root = fsspec.url_to_fs(path)
        except (ImportError, ValueError) as error:
            raise SourceRefused(
                f"No filesystem is known for path = {path!r} of [source] ({error}): correct the path, or name the "
                "Airflow connection of an object storage by connection in [source]."
            ) from error
        return filesystem, str(root).rstrip("/")

    def _includes(self, file: File) -> bool:
        if any(part.startswith(".") for part in file.name.split("/")):
            return False
        if self.suffixes and not file.name.lower().endswith(tuple(suffix.lower() for suffix in self.suffixes)):
            return False
        try:
            file.name.encode()
        except UnicodeEncodeError as error:
            raise SourceRefused(f"The name of {file.name!r} in {self.path} is not UTF-8: rename the file.") from error
        return True


def _content(path: str, end: int | None) -> bytes | OSError:
    """A local file up to a byte, or why it can't be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(-1 if end is None else end)
    except OSError as error:
        return error
