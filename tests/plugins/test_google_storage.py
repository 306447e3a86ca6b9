"""Google Cloud Storage by an Airflow connection, on an emulator in a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from include.sources.base import SourceRefused
from include.sources.folder import FolderSource
from millrace.connection import NoConnection
from millrace.storage import filesystem_for
from tests.support.assertions import assert_readable
from tests.support.processes import wait_for
from tests.support.s3 import PYTHON, answering, answers

# At times the emulator leaves a request without an answer, and each of the client's tries waits for 30 s.
pytestmark = pytest.mark.timeout(120)

PATH = "gs://pets"
NAMES = ["cat/a b.png", "dog/é+.png"]


@pytest.fixture(scope="module")
def emulator():
    command = PYTHON.with_name("gcp-storage-emulator")
    if not command.exists():
        pytest.skip("there is no Google storage to test with: `make test` installs one")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "--default-bucket", "pets"]
    with subprocess.Popen([str(command), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: answers(port), f"a Google storage on port {port}", timeout_s=60)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


@pytest.fixture
def connected(monkeypatch):
    def connect(endpoint):
        extra = {"endpoint_url": endpoint, "anonymous": True}
        monkeypatch.setenv("AIRFLOW_CONN_OBJECTS", json.dumps({"conn_type": "google_cloud_platform", "extra": extra}))
        return filesystem_for(PATH, "objects")

    return connect


def test_a_folder_of_objects_is_read_as_a_folder_of_files(emulator, connected):
    filesystem = connected(emulator)
    for name in NAMES:
        filesystem.pipe_file(f"{PATH}/set/{name}", name.encode())
    source = FolderSource(path=f"{PATH}/set", connection="objects", settle_s=0).on(filesystem)

    samples = source.read(0, source.count())

    assert [(sample.id, sample.content.decode()) for sample in samples] == [(name, name) for name in NAMES]


@pytest.mark.parametrize("status", ["403 Forbidden", "401 Unauthorized"])
def test_credentials_that_are_not_taken_are_refused_for_good(connected, status):
    with answering(status, "Denied") as endpoint, pytest.raises(SourceRefused) as refusal:
        FolderSource(path=f"{PATH}/set").on(connected(endpoint)).count()

    assert_readable(refusal.value, "pets", status[:3], "connection of [source]")


def test_a_missing_package_is_named(connected, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)

    with pytest.raises(NoConnection) as refusal:
        connected("http://127.0.0.1:1")

    assert_readable(refusal.value, PATH, "gcsfs")
