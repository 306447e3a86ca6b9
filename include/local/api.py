"""A client of Airflow's REST API for the local stack: login, readable errors, and waiting for conditions."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx

from include.errors import one_line
from include.local.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEOUT_S = 30.0
_POLL_S = 0.2
# For an API server that fails over a busy database, and for one that is started again. On SQLite, a request that
# Airflow logs stops the whole server while a task's change is not committed, and fails after 5 s, Python's limit.
_BUSY_S = 30.0
_PATIENCE_S = 90.0
_PAGE = 100

# Airflow's own number for it.
NOT_MAPPED = -1

# The states of a run that has not ended.
ACTIVE = ("queued", "running")


class ApiError(StackError):
    """Airflow refused a request, or did not answer; `status` is None where there was no answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class AirflowApi:
    """A client of one Airflow; runs, tasks and so on are the JSON objects that its API documents."""

    url: str
    username: str
    password: str = field(repr=False)
    check: Callable[[], None] = field(default=lambda: None, repr=False)
    _client: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # The environment's proxies must not be used for this machine.
        self._client = httpx.Client(base_url=self.url, timeout=_TIMEOUT_S, trust_env=False)

    def close(self) -> None:
        """Close the connections, which Airflow would wait for when it stops."""
        self._client.close()

    def get(self, path: str, **parameters: Any) -> Any:
        """GET a path below /api/v2, such as `/dags`; repeated while Airflow is busy or starts again."""
        return self._request("GET", path, params=parameters, repeat=True)

    def post(self, path: str, body: Any) -> Any:
        return self._request("POST", path, json=body)

    def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body; repeated like `get`, as the change is idempotent."""
        return self._request("PATCH", path, json=body, repeat=True)

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler create runs of a DAG, and the triggerer watch its backlog from now on.

        Airflow itself starts a DAG's watchers when it reads the file for the next time, 30 s later by default.
        """
        self.patch(f"/dags/{dag_id}", {"is_paused": False})
        self.parse_soon(dag_id)

    def parse_soon(self, dag_id: str) -> None:
        """Have Airflow read a DAG's file next, which finds the DAGs that were added there."""
        token = self.get(f"/dags/{dag_id}")["file_token"]
        try:
            self._request("PUT", f"/parseDagFile/{token}")
        except ApiError as error:
            # Another request for the file waits already: Airflow breaks a constraint of its database and says so.
            if error.status not in (HTTPStatus.CONFLICT, HTTPStatus.INTERNAL_SERVER_ERROR):
                raise

    def has_dag(self, dag_id: str) -> bool:
        """Whether Airflow has loaded a DAG of this id."""
        try:
            self.get(f"/dags/{dag_id}")
        except ApiError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return False
            raise
        return True

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Ask for a run and return its id; `conf` overrides params."""
        # With our own id the request can be repeated: on SQLite, Airflow refuses a few while a task writes.
        run_id = f"manual__{datetime.now(UTC).isoformat()}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}}
        try:
            self._request("POST", f"/dags/{dag_id}/dagRuns", json=body, repeat=True)
        except ApiError as error:
            if error.status != httpx.codes.CONFLICT:
                raise
        return run_id

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run: `task_id`, `state`, `try_number`, `map_index`, `duration` in seconds, ..."""
        page = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=_PAGE)
        return list(page["task_instances"])

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int, *, map_index: int = NOT_MAPPED) -> list[str]:
        """The lines that one try of a task logged."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        entries = self.get(path, full_content=True, map_index=map_index)["content"]
        return [str(entry["event"]) if isinstance(entry, dict) else str(entry) for entry in entries]

    def import_errors(self) -> list[dict[str, Any]]:
        """Workflow files that Airflow could not read: `filename`, `stack_trace`."""
        return list(self.get("/importErrors", limit=_PAGE)["import_errors"])

    def wait_until(self, predicate: Callable[[], Any], *, timeout_s: float, what: str) -> Any:
        """Return the predicate's first true value.

        Args:
            what: the unmet condition, for the error: "no DAG shows" for example.

        Raises:
            StackError: time is up, or the stack has ended.
        """
        deadline = time.monotonic() + timeout_s
        while not (value := predicate()):
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"After {timeout_s:g} s still waiting: {what}.")
            time.sleep(_POLL_S)
        return value

    def _request(self, method: str, path: str, *, repeat: bool = False, **arguments: Any) -> Any:
        began = time.monotonic()
        while True:
            try:
                return self._request_once(method, path, **arguments)
            except ApiError as error:
                patience = _PATIENCE_S if error.status is None else _BUSY_S
                refused = error.status is not None and error.status < HTTPStatus.INTERNAL_SERVER_ERROR
                if not repeat or refused or time.monotonic() - began > patience:
                    raise
                self.check()
                time.sleep(_POLL_S)

    def _request_once(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = self._send(method, path, **arguments)
            if response.status_code == httpx.codes.UNAUTHORIZED:
                self._client.headers.pop("Authorization", None)  # the token has expired
                response = self._send(method, path, **arguments)
        except httpx.TransportError as error:
            self.check()
            raise ApiError(
                f"Airflow at {self.url} did not answer {method} {path} ({one_line(error)}): see its log, "
                "or start the stack again."
            ) from error
        if response.is_error:
            raise ApiError(
                f"Airflow refused {method} {path} with {response.status_code}: {_detail(response)}",
                response.status_code,
            )
        return response.json() if response.content else None

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        if "Authorization" not in self._client.headers:
            login = {"username": self.username, "password": self.password}
            answer = self._client.post("/auth/token", json=login)
            if answer.is_error:
                raise ApiError(
                    f"Airflow at {self.url} refused the login of {self.username} with {answer.status_code}: "
                    f"{_detail(answer)}",
                    answer.status_code,
                )
            self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return self._client.request(method, f"/api/v2{path}", **arguments)


def _detail(response: httpx.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return response.text[:500]
    if isinstance(detail, dict):
        return str(detail.get("message") or detail.get("reason") or detail)
    return str(detail)
