"""A client of Airflow's REST API for the local stack: login, readable errors, and waiting for conditions."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from include.errors import one_line
from include.local.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEOUT_S = 30.0
_POLL_S = 0.2
_TRIES = 5
_PAGE = 100

# Airflow's own number for it.
NOT_MAPPED = -1

# The final states of a run.
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
        """GET a path below /api/v2, such as `/dags`; repeated if Airflow is busy or unreachable for a moment."""
        return self._request("GET", path, params=parameters, tries=_TRIES)

    def post(self, path: str, body: Any) -> Any:
        """POST a JSON body."""
        return self._request("POST", path, json=body)

    def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body; repeated like `get`, as the change is idempotent."""
        return self._request("PATCH", path, json=body, tries=_TRIES)

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler create runs of a DAG."""
        self.patch(f"/dags/{dag_id}", {"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Keep the scheduler from starting runs of a DAG."""
        self.patch(f"/dags/{dag_id}", {"is_paused": True})

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
            self._request("POST", f"/dags/{dag_id}/dagRuns", json=body, tries=_TRIES)
        except ApiError as error:
            if error.status != httpx.codes.CONFLICT:
                raise
        return run_id

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The latest 100 runs of a DAG, oldest first: `dag_run_id`, `state`, `run_type`, `start_date`, `conf`, ..."""
        page = self.get(f"/dags/{dag_id}/dagRuns", order_by="-run_after", limit=_PAGE)
        return list(reversed(page["dag_runs"]))

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run."""
        found: dict[str, Any] = self.get(f"/dags/{dag_id}/dagRuns/{run_id}")
        return found

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run: `task_id`, `state`, `try_number`, `map_index`, `duration` in seconds, ..."""
        page = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=_PAGE)
        return list(page["task_instances"])

    def result(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task returned."""
        entry = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}")
        return entry["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int, *, map_index: int = NOT_MAPPED) -> list[str]:
        """The lines that one try of a task logged."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        entries = self.get(path, full_content=True, map_index=map_index)["content"]
        return [str(entry["event"]) if isinstance(entry, dict) else str(entry) for entry in entries]

    def import_errors(self) -> list[dict[str, Any]]:
        """Workflow files that Airflow could not read: `filename`, `stack_trace`."""
        return list(self.get("/importErrors", limit=_PAGE)["import_errors"])

    def wait_until(self, predicate: Callable[[], Any], *, timeout_s: float, what: str, poll_s: float = _POLL_S) -> Any:
        """Return the predicate's first true value.

        Args:
            predicate: polled until it is true.
            timeout_s: seconds to wait.
            what: the unmet condition, for the error: "no DAG shows" for example.

        Raises:
            StackError: time is up, or the stack has ended.
        """
        deadline = time.monotonic() + timeout_s
        while not (value := predicate()):
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"After {timeout_s:g} s still waiting: {what}.")
            time.sleep(poll_s)
        return value

    def wait_for_run(self, dag_id: str, run_id: str, *, timeout_s: float) -> dict[str, Any]:
        """Wait until a run has ended and return it, whatever its state."""

        def ended() -> dict[str, Any] | None:
            run = self.run(dag_id, run_id)
            return None if run["state"] in ACTIVE else run

        what = f"run {run_id} of {dag_id} has not ended"
        found: dict[str, Any] = self.wait_until(ended, timeout_s=timeout_s, what=what)
        return found

    def _request(self, method: str, path: str, *, tries: int = 1, **arguments: Any) -> Any:
        for left in reversed(range(tries)):
            try:
                return self._request_once(method, path, **arguments)
            except ApiError as error:
                if left == 0 or (error.status is not None and error.status < 500):
                    raise
                self.check()
                time.sleep(_POLL_S)
        raise AssertionError("tries is at least 1")

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
