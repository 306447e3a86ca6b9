"""Google Cloud Storage as an fsspec filesystem, where the package gcsfs is installed."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

REQUEST_S = 30


def google_filesystem(**settings: Any) -> AbstractFileSystem:
    """A filesystem whose every request ends after `REQUEST_S`; it is tried again for about a minute.

    Create it in the process that uses it: the client has a thread, which does not survive a fork.

    Args:
        settings: of `gcsfs.GCSFileSystem`; without a token it looks for credentials where Google's own tools do.

    Raises:
        ImportError: gcsfs is not installed.
    """
    # Only zonal buckets need its gRPC client, which does not survive a fork either.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    from gcsfs import GCSFileSystem
    from gcsfs.retry import HttpError

    class GoogleFileSystem(GCSFileSystem):  # type: ignore[misc]
        """Raises the same error types as other filesystems."""

        async def _call(self, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            try:
                return await super()._call(method, path, *args, **kwargs)
            except HttpError as error:
                kind = PermissionError if str(error.code) in ("401", "403") else OSError
                raise kind(errno.EIO, f"HTTP status {error.code}") from error
            except OSError as error:
                if str(error).startswith("Forbidden"):
                    raise PermissionError(errno.EACCES, "HTTP status 403") from error
                raise

    return GoogleFileSystem(requests_timeout=REQUEST_S, skip_instance_cache=True, **settings)
