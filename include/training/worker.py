"""The trainer process: `python -m include.training.worker`, started by `include.training.launch` and dying with it.

It reads one line of JSON, the request, from standard input, writes progress as lines of JSON to standard output, and
logs to standard error. Its exit status is 0 for a result, 1 for a failure and 3 for a stop with a checkpoint.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from include.artifact.card import WrongModel
from include.artifact.result import read_result, remove_result
from include.errors import MillraceError, PermanentError, Stopped, one_line
from include.kafka.connection import KafkaConnection
from include.kafka.schema_registry import SchemaRegistry
from include.kafka.signing import SigningKeys
from include.storage.locks import locked
from include.storage.removal import remove_folder
from include.training.job import LEASE, TrainingJob
from include.training.loop import CACHE, CHECKPOINTS, train
from include.training.result import store_result

log = logging.getLogger(__name__)

FAILED, STOPPED = 1, 3
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4


def main() -> int:
    """Train the job that standard input requests; returns the exit status."""
    _hide_memory()
    stop = threading.Event()

    def on_terminate(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_terminate)
    # Ctrl-C reaches the terminal's whole process group; the parent decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _own_standard_output()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    request = json.loads(sys.stdin.readline())
    _die_with(request["parent"])

    def send(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        work(request, stop.is_set, send)
    except Stopped as error:
        send({"event": "stopped", "text": str(error)})
        return STOPPED
    except MillraceError as error:
        send({"event": "failed", "permanent": isinstance(error, PermanentError), "text": str(error)})
        return FAILED
    except Exception as error:
        log.exception("The trainer failed.")
        send({"event": "failed", "permanent": False, "text": one_line(error)})
        return FAILED
    return 0


def work(request: dict[str, Any], stopped: Callable[[], bool], send: Callable[[dict[str, Any]], None]) -> None:
    """Train the requested job in its directory, unless its result is already there."""
    directory = Path(request["directory"])
    job = TrainingJob.model_validate(request["job"])
    connection = _connection(**request["connection"])
    send({"event": "process", "pid": os.getpid()})
    with locked(directory / LEASE, timeout_s=request["lease_timeout_s"], stopped=stopped):
        if not _finished(directory, job):
            weights = Path(request["weights"]) if request.get("weights") else None
            trained = train(
                job,
                connection,
                directory,
                weights=weights,
                cache_bytes=request["cache_bytes"],
                stopped=stopped,
                on_progress=send,
            )
            store_result(directory, job, request["run"], trained)
        for folder in (CHECKPOINTS, CACHE):
            remove_folder(directory, directory / folder, missing_ok=True)


def _connection(
    signing: dict[str, Any] | None = None, registry: dict[str, Any] | None = None, **settings: Any
) -> KafkaConnection:
    return KafkaConnection(
        **settings,
        signing=None if signing is None else SigningKeys(**signing),
        registry=None if registry is None else SchemaRegistry(**registry),
    )


def _finished(directory: Path, job: TrainingJob) -> bool:
    try:
        return read_result(directory, job.digest) is not None
    except WrongModel as error:
        log.warning("%s It is removed, and the job is trained again.", error)
        remove_result(directory)
        return False


def _own_standard_output() -> TextIO:
    """Reserve standard output for answers: other output to it goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _hide_memory() -> None:
    """Keep other processes of the same user from reading this one's memory, which will have the request's secrets.

    Airflow does the same for the process of a task; a new interpreter begins without it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0)


def _die_with(parent: int) -> None:
    """Kill this process as soon as its parent has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the call
            os.kill(os.getpid(), signal.SIGKILL)

    def watch() -> None:
        # The parent writes nothing more, so the read returns only when its end of the pipe is closed.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
