"""An S3 server: moto, in its own virtual environment and process."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from include.storage.s3 import s3_filesystem
from tests.support.processes import wait_for

PYTHON = Path(sys.prefix, "s3-server", "bin", "python")
KEYS = {"access_key": "testing", "secret_key": "testing", "region": "us-east-1"}


@dataclass(frozen=True)
class Bucket:
    """A bucket of the server; its objects are written by PyArrow's client, not by Millrace's."""

    endpoint: str
    name: str

    @property
    def path(self) -> str:
        return f"s3://{self.name}"

    def write(self, key: str, content: bytes = b"content") -> None:
        with self._client().open_output_stream(f"{self.name}/{key}") as stream:
            stream.write(content)

    def remove(self, key: str) -> None:
        self._client().delete_file(f"{self.name}/{key}")

    def filesystem(self, **settings: Any) -> Any:
        return s3_filesystem(**{**KEYS, "endpoint_override": self.endpoint, **settings})

    def _client(self) -> Any:
        from pyarrow.fs import S3FileSystem

        return S3FileSystem(**KEYS, endpoint_override=self.endpoint, allow_bucket_creation=True)


@contextmanager
def running_s3(log: Path) -> Iterator[str]:
    """Start the server and yield its endpoint."""
    if not PYTHON.exists():
        pytest.skip("no S3 server is installed: `make test` installs one")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(PYTHON), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=output, stderr=output
        )
        try:
            wait_for(lambda: answers(port), f"an S3 server on port {port}, see {log}", timeout_s=60)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


def new_bucket(endpoint: str) -> Bucket:
    bucket = Bucket(endpoint, f"bucket-{uuid4().hex[:12]}")
    bucket._client().create_dir(bucket.name)
    return bucket


def answers(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def answering(status: str, code: str) -> Iterator[str]:
    """The endpoint of a server that answers every request with the same error."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>Because {code}</Message></Error>'
    answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client = server.accept()[0]
                except OSError:
                    return
                with client:
                    client.recv(65_536)
                    client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
