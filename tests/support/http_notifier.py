"""A notifier that posts alerts to a local HTTP receiver, as a provider's does to its service, and that receiver."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from airflow.sdk import BaseNotifier


class HttpNotifier(BaseNotifier):
    """Posts its rendered text."""

    template_fields = ("event", "text")

    def __init__(self, *, url: str, event: str = "{{ alert.event }}", text: str = "{{ alert.text }}") -> None:
        super().__init__()
        self.url = url
        self.event = event
        self.text = text

    def notify(self, context: Any) -> None:  # noqa: ARG002 - the base class gives it
        """Post it."""
        body = {"event": self.event, "text": self.text}
        httpx.post(self.url, json=body, timeout=10, trust_env=False).raise_for_status()


@dataclass
class Receiver:
    """What was posted, and where to."""

    url: str
    alerts: list[dict[str, str]] = field(default_factory=list)

    def of(self, event: str) -> list[str]:
        return [alert["text"] for alert in self.alerts if alert["event"] == event]

    @property
    def toml(self) -> str:
        """The entry of a pipeline's file."""
        path = f"{HttpNotifier.__module__}.{HttpNotifier.__qualname__}"
        return f'[[alerts.notify]]\nnotifier = "{path}"\narguments = {{ url = "{self.url}" }}\n'


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.alerts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Not to the tests' output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}/")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield receiver
        finally:
            server.shutdown()
