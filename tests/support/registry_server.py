"""A minimal Schema Registry over HTTP: it asks for a password, and fails if a test wants it to.

With the URL of a real one in `MILLRACE_TEST_REGISTRY` the envelopes' tests use that.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

USER = "millrace:a-registry-s-password"


class RegistryServer(ThreadingHTTPServer):
    """Schemas by id, from 1 on.

    Attributes:
        status: of every response; with 200 the response is the requested content.
        asked: the paths of the requests.
        subjects: the id of each subject's only version.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.schemas: list[dict[str, Any]] = []
        self.status = 200
        self.asked: list[str] = []
        self.subjects: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if self.status != 200:
            return self.status, {"error_code": self.status * 100, "message": "set by the test"}
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[0] == "schemas" and parts[1] in ("ids", "guids"):
            number = int(parts[2]) if parts[1] == "ids" else UUID(parts[2]).int
            if 0 < number <= len(self.schemas):
                return 200, {"id": number, "guid": str(UUID(int=number)), **self.schemas[number - 1]}
            return 404, {"error_code": 40403, "message": f"Schema {parts[2]} not found"}
        if body is None and parts[0] == "subjects" and parts[1] in self.subjects:
            number = self.subjects[parts[1]]
            return 200, {"id": number, "subject": parts[1], "version": 1, **self.schemas[number - 1]}
        if body is not None and parts[0] == "subjects":
            schema = {name: body[name] for name in ("schema", "schemaType", "references") if body.get(name)}
            if schema not in self.schemas:
                self.schemas.append(schema)
            number = self.subjects[parts[1]] = self.schemas.index(schema) + 1
            return 200, {"id": number, "guid": str(UUID(int=number)), "subject": parts[1], "version": 1, **schema}
        return 404, {"error_code": 404, "message": f"No {path} here"}


class _Handler(BaseHTTPRequestHandler):
    server: RegistryServer

    def do_GET(self) -> None:
        self._reply(None)

    def do_POST(self) -> None:
        self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _reply(self, body: dict[str, Any] | None) -> None:
        if self.headers["Authorization"] == f"Basic {base64.b64encode(USER.encode()).decode()}":
            status, answer = self.server.answer(self.path, body)
        else:
            status, answer = 401, {"error_code": 401, "message": "Unauthorized"}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Log nothing; the tests read `asked`."""


@contextmanager
def running_registry() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
