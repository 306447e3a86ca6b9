"""Airflow connections turned into filesystems, for the files of sources and exports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from millrace.connection import NoConnection, airflow_connection

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from fsspec import AbstractFileSystem

S3_SCHEMES = ("s3", "s3a", "s3n")
# Keys in the extra of Airflow's connections of type Amazon Web Services, and the client's names for them.
S3_EXTRA = {
    "region_name": "region",
    "endpoint_url": "endpoint_override",
    "aws_session_token": "session_token",
    "role_arn": "role_arn",
    "external_id": "external_id",
    "anonymous": "anonymous",
}
GOOGLE_SCHEMES = ("gs", "gcs")
# The same for connections of type Google Cloud.
GOOGLE_EXTRA = {
    "keyfile_dict": "token",
    "key_path": "token",
    "project": "project",
    "endpoint_url": "endpoint_url",
    "anonymous": "token",
}
PROVIDERS = {
    "abfs": "apache-airflow-providers-microsoft-azure",
    "abfss": "apache-airflow-providers-microsoft-azure",
    "adl": "apache-airflow-providers-microsoft-azure",
    "sftp": "apache-airflow-providers-sftp",
}


def scheme_of(path: str) -> str:
    """The scheme of a URL; `file` for a local path."""
    return path.partition("://")[0] if "://" in path else "file"


def filesystem_for(path: str, connection_id: str) -> AbstractFileSystem:
    """A new filesystem for `path`, with the credentials of a connection.

    S3 needs no further package: login and password are the key's id and secret, the extra may have the keys of
    `S3_EXTRA`. Google Cloud Storage needs the package gcsfs; the extra may have the keys of `GOOGLE_EXTRA`. For any
    other scheme Airflow's providers are asked.

    Raises:
        NoConnection: there is no such connection, its extra has unknown keys, or no provider supports the scheme.
    """
    from airflow.sdk.io.fs import get_fs, has_fs

    scheme = scheme_of(path)
    kind = "under Admin > Connections, for S3 of type Amazon Web Services"
    connection = airflow_connection(connection_id, path, kind)
    if scheme in S3_SCHEMES:
        from include.storage.s3 import s3_filesystem

        return s3_filesystem(**_s3_settings(connection))
    if scheme in GOOGLE_SCHEMES:
        return _google_filesystem(path, connection)
    if not has_fs(scheme):
        install = f"install {PROVIDERS[scheme]}" if scheme in PROVIDERS else "install the provider that supports it"
        raise NoConnection(f"No Airflow provider supports the storage of {path}: {install}, or correct the path.")
    try:
        return get_fs(scheme, connection_id)
    except ImportError as error:
        raise NoConnection(f"The storage of {path} needs a package that is missing ({error}): install it.") from error


def _s3_settings(connection: Connection) -> dict[str, Any]:
    extra = _extra(connection, S3_EXTRA)
    if bool(connection.login) != bool(connection.password):
        raise NoConnection(
            f"Airflow's connection {connection.conn_id!r} has only one of login and password: set the key's id as "
            "login and the secret as password, or neither to use the machine's own credentials."
        )
    keys = {"access_key": connection.login, "secret_key": connection.password} if connection.login else {}
    return {**keys, **{S3_EXTRA[name]: value for name, value in extra.items()}}


def _google_filesystem(path: str, connection: Connection) -> AbstractFileSystem:
    from include.storage.gcs import google_filesystem

    extra = _extra(connection, GOOGLE_EXTRA)
    if isinstance(keyfile := extra.get("keyfile_dict"), str):
        try:
            extra["keyfile_dict"] = json.loads(keyfile)
        except ValueError as error:
            raise NoConnection(
                f"Airflow's connection {connection.conn_id!r} has a keyfile_dict that is not JSON: paste the whole key "
                "file."
            ) from error
    if extra.pop("anonymous", False):
        extra["anonymous"] = "anon"
    try:
        return google_filesystem(**{GOOGLE_EXTRA[name]: value for name, value in extra.items()})
    except ImportError as error:
        raise NoConnection(f"The storage of {path} needs the package gcsfs, which is missing: install it.") from error


def _extra(connection: Connection, known: Mapping[str, str]) -> dict[str, Any]:
    extra: dict[str, Any] = dict(connection.extra_dejson)
    if unread := sorted(set(extra) - set(known)):
        raise NoConnection(
            f"Airflow's connection {connection.conn_id!r} has {', '.join(map(repr, unread))} in its extra, which "
            f"Millrace does not read: remove it, the keys for this storage are {', '.join(known)}."
        )
    return extra
