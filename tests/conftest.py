"""The session's services: a real broker, an S3 server, and a real Airflow with a home of its own."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import is_hypothesis_test, settings
from xdist.scheduler import LoadScopeScheduling

from include.local.broker import Cluster, running_cluster
from include.local.broker.jars import jars_dir
from include.local.stack import Stack, running_stack
from include.storage.state import PROJECT_ROOT
from tests.support.s3 import Bucket, new_bucket, running_s3
from tests.support.workflows import run_workflows

if TYPE_CHECKING:
    from collections.abc import Iterator

# A test with a state folder of its own shares the jars that are there already.
os.environ.setdefault("MILLRACE_JARS", str(jars_dir()))

# What tests start imports from this checkout, whichever one the environment's packages were installed from.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))

# Airflow reads its home when it is first imported, and must not find the developer's own.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "false"

# Of `make test-fast`, in place of hypothesis' own 100; a test may multiply it.
settings.register_profile("fast", max_examples=10)

# Fixtures that start something: Kafka, Airflow, an S3 server, a browser.
SERVICES = frozenset({"broker", "stack", "s3", "browser"})


class InFiles(LoadScopeScheduling):
    """Gives a worker of pytest-xdist whole files, so that the fixtures of a file are set up once.

    The tests of the session's Airflow go to one worker. The fault scenarios are long and share nothing, so each one may
    go to any worker.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        if path.startswith(("tests/browser/", "tests/end_to_end/")):
            return "stack"
        return nodeid if path == "tests/faults/test_faults.py" else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InFiles:
    return InFiles(config, log)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A single-node embedded broker, started when a test first needs it; every test uses topics of its own."""
    with running_cluster(tmp_path_factory.mktemp("broker"), nodes=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a server that speaks S3."""
    with running_s3(tmp_path_factory.mktemp("s3") / "log") as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3: str) -> Bucket:
    """An empty bucket."""
    return new_bucket(s3)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka, MLflow's database and Airflow with its scheduler, from a clean home; all DAGs are paused at first."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="session")
def flow(stack: Stack) -> Stack:
    """The stack after the three workflows have run once, from source to prediction."""
    run_workflows(stack)
    return stack


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `make test-fast`, and those without coverage.

    A test is fast if it needs no service and is not marked slow. Coverage pauses in property-based tests: tracing
    doubles their time, and examples cover the same lines.
    """
    for item in items:
        if SERVICES.isdisjoint(getattr(item, "fixturenames", ())) and item.get_closest_marker("slow") is None:
            item.add_marker("fast")
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("no_cover")


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
