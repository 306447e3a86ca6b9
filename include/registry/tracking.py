"""MLflow's address and database; the database is migrated once by a command, never by tasks."""

from __future__ import annotations

import logging
import math
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from include.errors import MillraceError, PermanentError
from include.storage.atomic import explained_if_full, whole_file
from include.storage.locks import locked
from include.storage.removal import OutsideRoot, below
from include.storage.state import state_dir

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

MIGRATE = "millrace registry migrate"
# The address of MLflow's own interface, for links that a person follows.
MLFLOW_UI = "MILLRACE_MLFLOW_UI"
SQLITE = "sqlite:///"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# Where the files of a run may be, other than on this machine.
STORAGES = ("mlflow-artifacts", "s3", "gs", "wasbs", "abfss")
# The first if the model does not exist, the second if it has no such alias.
NO_ALIAS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
DENIED = ("UNAUTHENTICATED", "PERMISSION_DENIED")
# Its files are requested by another client, whose errors have no code.
DENIED_TEXT = re.compile(r"error code 40[13]\b|\b40[13] Client Error")
# MLflow's own defaults wait for a server that is away for a quarter of an hour.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}


class NotMigrated(PermanentError):
    """MLflow's database does not exist yet, or another version of MLflow created it."""


class UnknownTracking(PermanentError):
    """`MLFLOW_TRACKING_URI` is neither a server nor a database, and can't keep model versions safely."""


class WrongStorage(PermanentError):
    """MLflow names a place for a run's files that tasks don't read or write."""


class RegistryUnavailable(MillraceError):
    """A request to MLflow failed."""


class RegistryDenied(PermanentError):
    """MLflow refuses the login, or its rights."""


@dataclass(frozen=True)
class Registry:
    """An MLflow client and its URI."""

    uri: str
    client: MlflowClient

    @property
    def database(self) -> Path | None:
        """The SQLite file; None if the database is of another kind."""
        return _sqlite_path(self.uri) if self.uri.startswith(SQLITE) else None

    @property
    def artifact_location(self) -> str | None:
        """Where a new experiment keeps its files; None leaves it to the server."""
        return None if _is_server(self.uri) else artifact_root().as_uri()


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI` if set, else an SQLite file in the state folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{state_dir() / 'mlflow' / 'mlflow.db'}"


def server_address() -> str:
    """The address of the MLflow server that is used, without a login; empty if it is a database."""
    uri = tracking_uri()
    return re.sub("://[^/@]*@", "://", uri).rstrip("/") if _is_server(uri) else ""


def interface_address() -> str:
    """The address of MLflow's own interface: `MILLRACE_MLFLOW_UI`, or the server's; empty where there is none."""
    return os.environ.get(MLFLOW_UI) or server_address()


def artifact_root() -> Path:
    """Where artifacts are stored if MLflow is a database and not a server."""
    return state_dir() / "mlflow" / "artifacts"


def local_artifacts(registry: Registry, uri: str) -> Path | None:
    """The folder of a run's files; None if they are not on this machine.

    A server chooses the address, so a path on this machine has to be below `artifact_root`: any other would have
    tasks read or write files of the server's choice.

    Raises:
        WrongStorage: the address is of another kind, or such a path.
    """
    place = urlsplit(uri)
    if place.scheme in STORAGES:
        return None
    folder = Path(url2pathname(place.path))
    if place.scheme in ("", "file"):
        if not _is_server(registry.uri):
            return folder
        with suppress(OutsideRoot):
            return below(artifact_root(), folder)
    raise WrongStorage(
        f"MLflow at {_shown(registry.uri)} keeps a run's files in {_shown(uri)!r:.200}, and tasks use "
        f"{', '.join(STORAGES)} and folders below {artifact_root()}: start it with --serve-artifacts, or correct the "
        "artifact location of the experiment."
    )


def open_registry(uri: str | None = None) -> Registry:
    """A client of MLflow; importing it takes more than a second.

    Raises:
        NotMigrated, UnknownTracking: see `check_tracking`.
        RegistryUnavailable: the database can't be opened.
    """
    uri = uri or tracking_uri()
    check_tracking(uri)
    _prepare()

    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return Registry(uri, MlflowClient(tracking_uri=uri, registry_uri=uri))
    except MlflowException as error:
        if "out-of-date database schema" in str(error):
            raise NotMigrated(
                f"MLflow's database {_shown(uri)} was created by another version of MLflow: run `{MIGRATE}` first."
            ) from error
        raise RegistryUnavailable(_sentence(uri, "opening the database", error)) from error


def has_no_alias(name: str, alias: str) -> bool:
    """Whether a registered model surely has no such alias, without importing MLflow.

    False where it has, and where only MLflow's own client can tell.
    """
    uri = tracking_uri()
    if _is_server(uri):
        # In a workspace of MLflow's, the client adds its name.
        return "MLFLOW_WORKSPACE" not in os.environ and _server_has_no_alias(uri, name, alias)
    if not uri.startswith(SQLITE):
        return False
    with suppress(sqlite3.Error), _reading(_sqlite_path(uri)) as database:
        asked = "SELECT count(*) FROM registered_model_aliases WHERE name = ? AND alias = ?"
        (found,) = database.execute(asked, (name, alias)).fetchone()
        return not found
    return False


def _server_has_no_alias(uri: str, name: str, alias: str) -> bool:
    import httpx

    user, password = (os.environ.get(f"MLFLOW_TRACKING_{part}") for part in ("USERNAME", "PASSWORD"))
    with suppress(httpx.HTTPError, ValueError, AttributeError):
        answer = httpx.get(
            f"{uri.rstrip('/')}/api/2.0/mlflow/registered-models/alias",
            params={"name": name, "alias": alias},
            auth=(user, password) if user and password else None,
            timeout=float(SETTINGS["MLFLOW_HTTP_REQUEST_TIMEOUT"]),
        )
        return answer.json().get("error_code") in NO_ALIAS
    return False


def check_tracking(uri: str | None = None) -> None:
    """Refuse an address that tasks can't use, without importing MLflow.

    Raises:
        NotMigrated: the SQLite file is missing or has no tables; tasks that create them at the same time break it.
        UnknownTracking: neither a server nor a database.
    """
    uri = uri or tracking_uri()
    if _is_server(uri):
        return
    if not uri.startswith(DATABASES):
        raise UnknownTracking(
            f"MLFLOW_TRACKING_URI = {_shown(uri)} is neither a server (http, https) nor a database "
            f"({', '.join(DATABASES)}): correct it, or remove it to use an SQLite file in the state folder."
        )
    if uri.startswith(SQLITE) and _sqlite_revision(_sqlite_path(uri)) is None:
        raise NotMigrated(f"MLflow's database {_sqlite_path(uri)} does not exist yet: run `{MIGRATE}` first.")


def migrate(uri: str | None = None) -> str:
    """Create or upgrade the database, one process at a time; returns what was done as one sentence.

    A new SQLite file is created under another name and renamed, so that a killed migration leaves none. An existing one
    is copied to `<file>.before-migration` before it is upgraded.

    Raises:
        UnknownTracking: neither a server nor a database.
        RegistryUnavailable: the migration failed.
        DiskFull: there is no room for the SQLite file, or for the copy of it.
    """
    uri = uri or tracking_uri()
    if _is_server(uri):
        return f"MLflow at {_shown(uri)} is a server, which migrates its own database: nothing was done."
    if not uri.startswith(SQLITE):
        check_tracking(uri)
        with _migration_lock(state_dir() / "mlflow"):
            _upgrade(uri)
        return f"MLflow's database {_shown(uri)} is migrated."
    path = _sqlite_path(uri)
    with explained_if_full(path), _migration_lock(path.parent):
        done = path.with_name(f"{path.name}.migrated")
        if _sqlite_revision(path) is not None:
            if done.is_file() and done.read_text() == _migration(path):
                return f"MLflow's database {path} is up to date."
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(f"{path}.before-migration")) as copy:
                source.backup(copy)
            _upgrade(uri)
        else:
            with whole_file(path) as aside:
                _upgrade(f"{SQLITE}{aside}")
        # So that the next call sees without importing MLflow that nothing is left to do.
        done.write_text(_migration(path))
    return f"MLflow's database {path} is migrated."


@contextmanager
def explained(registry: Registry, action: str) -> Iterator[None]:
    """Turn MLflow's errors into one sentence that names the action.

    Raises:
        RegistryUnavailable: MLflow raised within the block.
        RegistryDenied: it refused the login.
        DiskFull: there is no room for its database on this machine.
    """
    from mlflow.exceptions import MlflowException

    try:
        with explained_if_full(registry.database) if registry.database else nullcontext():
            yield
    except MlflowException as error:
        if error.error_code in DENIED or DENIED_TEXT.search(str(error)):
            first = _shown(str(error).strip().partition("\n")[0])[:200].rstrip(". ")
            raise RegistryDenied(
                f"MLflow at {_shown(registry.uri)} refused the login while {action} ({first}): correct "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN) of Airflow's "
                "processes, or the rights that MLflow grants that user."
            ) from error
        raise RegistryUnavailable(_sentence(registry.uri, action, error)) from error


def _upgrade(uri: str) -> None:
    _prepare()

    from mlflow.exceptions import MlflowException
    from mlflow.store.db import utils
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = utils.create_sqlalchemy_engine_with_retry(uri)  # type: ignore[no-untyped-call]
        try:
            # What `mlflow db upgrade` does; as a command it would show the password among the arguments.
            if utils._is_empty_database(engine):  # type: ignore[no-untyped-call]
                utils._initialize_tables(engine)  # type: ignore[no-untyped-call]
            else:
                utils._upgrade_db(engine)  # type: ignore[no-untyped-call]
        finally:
            engine.dispose()
        # The first client creates the default experiment, and two at the same time would both try.
        SqlAlchemyStore(uri, artifact_root().as_uri()).engine.dispose()  # type: ignore[no-untyped-call]
    except (MlflowException, SQLAlchemyError) as error:
        raise RegistryUnavailable(_sentence(uri, "migrating the database", error)) from error


def _migration_lock(directory: Path) -> AbstractContextManager[None]:
    # A migration of a large database may take hours, and is never safe beside another.
    return locked(directory / ".migration-lock", timeout_s=math.inf)


def _prepare() -> None:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    # It logs the traceback of every error that it raises; `explained` reports those.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _sqlite_path(uri: str) -> Path:
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


def _sqlite_revision(path: Path) -> str | None:
    """The file's migration; None if it has none or does not exist."""
    if not path.is_file():
        return None
    try:
        with _reading(path) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError:
        return None
    return str(row[0]) if row else None


def _reading(path: Path) -> closing[sqlite3.Connection]:
    # Read-only: connecting must not create the file.
    return closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True))


def _migration(path: Path) -> str:
    """The version of MLflow and the migration that it left the file at."""
    return f"MLflow {version('mlflow')}, revision {_sqlite_revision(path)}\n"


def _shown(uri: str) -> str:
    return re.sub(r"://([^:/@]*):[^@]*@", r"://\1:***@", uri)


def _sentence(uri: str, action: str, error: Exception) -> str:
    first = _shown(str(error).strip().partition("\n")[0]).rstrip(".")
    return f"MLflow at {_shown(uri)} failed while {action} ({first}): check that it runs and try again."
