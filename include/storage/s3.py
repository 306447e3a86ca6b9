"""S3 and compatible storages as an fsspec filesystem, on the client that PyArrow ships: nothing to install."""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from fsspec.implementations.arrow import ArrowFSWrapper

CONNECT_S = 10
# A request that receives no byte for so long fails.
SILENT_S = 30
ATTEMPTS = 3
READ_TOGETHER = 16
BUFFER_BYTES = 4 * 2**20

# The client's names; a HEAD response has no body, so its errors have only a status.
MISSING = re.compile(r"NO_SUCH_BUCKET|NO_SUCH_KEY|RESOURCE_NOT_FOUND|HTTP status 404")
DENIED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|UNRECOGNIZED_CLIENT"
    r"|HTTP status 40[13]"
)
ELSEWHERE = re.compile(
    r"PERMANENT_REDIRECT|AUTHORIZATION_HEADER_MALFORMED|HTTP status 301|AuthorizationHeaderMalformed"
)


def s3_filesystem(**settings: Any) -> S3FileSystem:
    """A filesystem whose every request ends: after `CONNECT_S` without a connection, after `SILENT_S` without a byte.

    Create it in the process that uses it: the client has threads, which do not survive a fork.

    Args:
        settings: of `pyarrow.fs.S3FileSystem`; without keys it looks for them where Amazon's own tools do.
    """
    from pyarrow import fs

    client = fs.S3FileSystem(
        connect_timeout=CONNECT_S,
        request_timeout=SILENT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        **settings,
    )
    # fsspec caches by id(client), and a new client may reuse a dead one's id.
    return S3FileSystem(client, skip_instance_cache=True)


class S3FileSystem(ArrowFSWrapper):  # type: ignore[misc]
    """PyArrow's client with the error types of other filesystems, buffering, and concurrent reads.

    Raises, from any method:
        FileNotFoundError: the bucket or the object is missing.
        PermissionError: the credentials are wrong or lack a right, or the bucket is in another region.
        OSError: the storage did not answer, or failed itself, in all of `ATTEMPTS`.
    """

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        # No URL parsing: an object's name may contain any character of a URL.
        return re.sub(r"^s3[an]?://", "", path)

    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> Any:
        with _translated(path):
            return super().ls(path, detail, **kwargs)

    def info(self, path: str, **kwargs: Any) -> Any:
        with _translated(path):
            return super().info(path, **kwargs)

    def pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:
        with _translated(path):
            super().pipe_file(path, value, **kwargs)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> Any:
        if start or (end is not None and end < 0):
            return super().cat_file(path, start, end, **kwargs)
        # An object read from its beginning is one request.
        with _translated(path), self.fs.open_input_stream(self._strip_protocol(path), compression=None) as stream:
            return stream.read(end)

    def cat_ranges(
        self, paths: Sequence[str], starts: Any, ends: Any, max_gap: Any = None, on_error: str = "return", **kwargs: Any
    ) -> list[bytes | Exception]:
        """Contents in the order of the paths, or the error of one that can't be read; `READ_TOGETHER` at a time."""
        if starts is not None or ends is not None or on_error != "return":
            found: list[bytes | Exception] = super().cat_ranges(paths, starts, ends, max_gap, on_error, **kwargs)
            return found
        with ThreadPoolExecutor(READ_TOGETHER) as pool:
            return list(pool.map(self._content, paths))

    def _content(self, path: str) -> bytes | Exception:
        try:
            content: bytes = self.cat_file(path)
        except OSError as error:
            return error
        return content

    def _open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        with _translated(path):
            file = super()._open(path, mode, *args, **kwargs)
        # Each read is a request.
        return io.BufferedReader(file, BUFFER_BYTES) if mode == "rb" else file


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = str(error)
        if isinstance(error, FileNotFoundError) or MISSING.search(reason):
            raise FileNotFoundError(errno.ENOENT, "there is no such bucket or object", path) from error
        if ELSEWHERE.search(reason):
            raise PermissionError(errno.EACCES, "its bucket is in another region", path) from error
        if DENIED.search(reason):
            raise PermissionError(errno.EACCES, _message(reason), path) from error
        raise OSError(errno.EIO, _message(reason), path) from error


def _message(reason: str) -> str:
    """The client's message without its source location and the request id."""
    return reason.partition("AWS Error ")[2].partition(" (Request ID")[0].rstrip(". ") or reason
