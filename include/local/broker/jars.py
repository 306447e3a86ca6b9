"""The broker's jars: fetched by jgo from a lock file, and hashed before every use."""

import hashlib
import logging
import os
import tempfile
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.local.errors import BrokerError
from include.storage.atomic import ASIDE, remove_leftovers
from include.storage.locks import locked
from include.storage.state import state_dir

LOCK = Path(__file__).with_name("jgo.lock.toml")

# jgo takes whatever dependencies a bill of materials manages: without the "!" the logging library's own one replaces
# kafka-clients 4.3.1 by 3.9.1, and the broker does not start.
COORDINATES = ("org.apache.kafka:kafka_2.13:4.3.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!")

_ATTEMPTS = 3
_HTTP_TIMEOUT_S = 30
_FETCH_TIMEOUT_S = 600

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked jar: its Maven coordinate and the SHA-256 (64 hex digits) that its bytes must have."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """The jar's name on disk, as Maven names it."""
        return f"{self.artifact}-{self.version}.jar"


def jars_dir() -> Path:
    """The folder of the verified jars: `MILLRACE_JARS` where set, else `jars` among the state.

    The variable lets checkouts, and tests with a state of their own, share one download.
    """
    chosen = os.environ.get("MILLRACE_JARS", "")
    return Path(chosen).expanduser().resolve() if chosen else state_dir() / "jars"


def read_lock(lock: Path = LOCK) -> list[Jar]:
    """The jars of a lock file in its order, which is that of the class path.

    Raises:
        BrokerError: the file is missing, is not TOML, or has a dependency without a SHA-256.
    """
    try:
        dependencies = tomllib.loads(lock.read_text(encoding="utf-8"))["dependencies"]
        return [Jar(d["groupId"], d["artifactId"], d["version"], d["sha256"]) for d in dependencies]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise BrokerError(
            f"The jars' lock file {lock} cannot be used ({error!r}): restore it from version control, or rewrite it "
            "with `millrace broker lock`."
        ) from error


def verified_classpath(
    lock: Path = LOCK, directory: Path | None = None, on_step: Callable[[str], None] = log.info
) -> list[Path]:
    """The paths of all locked jars; missing ones are fetched, and every SHA-256 is compared.

    Every jar is hashed at every start: 43 MB take under 0.1 s, so remembering verified jars is not worth it.

    Args:
        directory: the jars' folder, `jars_dir()` by default.
        on_step: called with a few words when a slow step begins.

    Raises:
        BrokerError: a jar cannot be fetched, or its hash is not the locked one.
    """
    directory = directory or jars_dir()
    jars = read_lock(lock)
    if _missing(jars, directory):
        with locked(directory / ".lock", timeout_s=_FETCH_TIMEOUT_S):
            # Another process may have fetched some meanwhile, and a killed one may have left partial files.
            missing = _missing(jars, directory)
            remove_leftovers(directory)
            on_step(f"Fetching {len(missing)} of {len(jars)} jars (once) into {directory}")
            _fetch(missing, directory)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda jar: _compare(jar, directory / jar.filename, lock), jars))
    return [directory / jar.filename for jar in jars]


def _missing(jars: list[Jar], directory: Path) -> list[Jar]:
    return [jar for jar in jars if not (directory / jar.filename).exists()]


def _compare(jar: Jar, path: Path, lock: Path) -> None:
    try:
        found = _sha256(path)
    except OSError as error:
        raise BrokerError(
            f"The jar {path} cannot be read ({error}): start again, or correct its permissions."
        ) from error
    if found != jar.sha256:
        raise BrokerError(
            f"The jar {path} has the SHA-256 {found}, but {lock.name} says {jar.sha256}: delete the jar so that the "
            "next start fetches it again, and if it is refused again, restore the lock file or distrust its source."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(jars: list[Jar], directory: Path) -> None:
    """Fetch each jar to a temporary folder, compare its hash, and move it into place."""
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    remote = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}

    def fetch(jar: Jar) -> None:
        problem = ""
        for _ in range(_ATTEMPTS):
            # A new folder for each attempt: jgo accepts any file at the right path as a finished download.
            with tempfile.TemporaryDirectory(prefix=ASIDE, dir=directory) as aside:
                context = MavenContext(repo_cache=Path(aside), remote_repos=remote, timeout=_HTTP_TIMEOUT_S)
                artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
                try:
                    path = artifact.resolve()
                    if (found := _sha256(path)) == jar.sha256:
                        path.replace(directory / jar.filename)
                        return
                    problem = f"the download has the SHA-256 {found}, the lock file says {jar.sha256}"
                except (OSError, RuntimeError, ValueError) as error:  # requests' errors are OSErrors
                    problem = str(error)
        raise BrokerError(
            f"The jar {jar.group}:{jar.artifact}:{jar.version} could not be fetched in {_ATTEMPTS} attempts "
            f"({problem}): check the network, or name a mirror that you trust as `central` under [repositories] in "
            "jgo's config file."
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fetch, jars))


def write_lock(lock: Path = LOCK) -> int:
    """Resolve `COORDINATES` again and write the lock file with the hashes found; returns the number of jars.

    For a change of the Kafka version; read the result before committing it.
    """
    from jgo.env import LockFile
    from jgo.maven import MavenContext

    with tempfile.TemporaryDirectory() as aside:
        context = MavenContext(repo_cache=Path(aside), timeout=_HTTP_TIMEOUT_S)
        wanted = [context.create_dependency(coordinate) for coordinate in COORDINATES]
        inputs, transitive = context.resolver.resolve(wanted)
        runtime: list[Any] = [*inputs, *(found for found in transitive if found.scope in ("compile", "runtime"))]
        LockFile.from_resolved_dependencies(runtime, min_java_version=17).save(lock)
    return len(runtime)
