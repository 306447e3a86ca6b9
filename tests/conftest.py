"""The session's services, a real broker and an S3 server, and how its tests are divided among workers."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import is_hypothesis_test, settings
from xdist.scheduler import LoadScopeScheduling

from include.kafka.connection import KafkaConnection
from include.local.broker import Cluster, running_cluster
from include.local.broker.jars import jars_dir
from include.storage.state import PROJECT_ROOT
from tests.support.s3 import Bucket, new_bucket, running_s3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A test with a state folder of its own shares the jars that are there already.
os.environ.setdefault("MILLRACE_JARS", str(jars_dir()))

# What tests start imports from this checkout, whichever one the environment's packages were installed from.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))

# Airflow reads its home when it is first imported, and must not find the developer's own.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "false"

# Of `make test` and `make test-fast`, in place of the 100 of hypothesis and `make test-long`; a test may multiply it.
settings.register_profile("fast", max_examples=10)

# Fixtures that start something: Kafka, Airflow, an S3 server, a browser.
SERVICES = frozenset({"broker", "secured_broker", "stack", "s3", "browser"})

# The groups of tests that take longest, see `group_of`.
LONGEST = ("stack", "secured")


class InFiles(LoadScopeScheduling):
    """Gives a worker of pytest-xdist whole files, so that the fixtures of a file are set up once.

    The tests of the one Airflow go to one worker, and so do those of the secured broker; each ends with the last of
    its tests. The fault scenarios are long and share nothing, so each one may go to any worker.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """What a test belongs to that one worker runs."""
    path = nodeid.partition("::")[0]
    if path.startswith("tests/end_to_end/"):
        return "stack"
    if path.startswith("tests/secured/"):
        return "secured"
    return nodeid if path == "tests/faults/test_faults.py" else path


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors, because tests wait for brokers and processes."""
    return (os.cpu_count() or 1) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InFiles:
    return InFiles(config, log)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A single-node embedded broker, started when a test first needs it; every test uses topics of its own."""
    with running_cluster(tmp_path_factory.mktemp("broker"), nodes=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def new_name() -> Callable[[], str]:
    """Unique names for topics, pipelines and transactional ids."""
    return lambda: f"t{uuid4().hex[:12]}"


@pytest.fixture
def no_broker() -> KafkaConnection:
    """A connection to a port without a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return KafkaConnection({"bootstrap.servers": f"127.0.0.1:{port}"}, timeout_s=1)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a server that speaks S3."""
    with running_s3(tmp_path_factory.mktemp("s3") / "log") as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3: str) -> Bucket:
    """An empty bucket."""
    return new_bucket(s3)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `make test-fast` and those without coverage, and let the longest begin.

    A test is fast if it needs no service and is marked neither slow nor long. Coverage pauses in property-based tests:
    tracing doubles their time, and examples cover the same lines. Groups of fast tests come last, as they are short:
    so the workers end at the same time.
    """
    slow_groups = set()
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if SERVICES.isdisjoint(getattr(item, "fixturenames", ())) and marks.isdisjoint({"slow", "long"}):
            item.add_marker("fast")
        else:
            slow_groups.add(group_of(item.nodeid))
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("property")
            item.add_marker("no_cover")

    def rank(item: pytest.Item) -> int:
        group = group_of(item.nodeid)
        return LONGEST.index(group) if group in LONGEST else len(LONGEST) + (group not in slow_groups)

    items.sort(key=rank)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the measurements of the tests, such as accuracies: their `record_property` values."""
    measured = [
        f"{name}: {value}"
        for report in terminalreporter.getreports("passed")
        if report.when == "call"
        for name, value in report.user_properties
    ]
    if measured:
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(measured))
