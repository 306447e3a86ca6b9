"""`python -m tests.faults.forkserver FD`: has imported all that a step needs and forks a process for each one.

A new interpreter takes seconds to import torch, a fork none. Forks are safe as long as the forking process has one
thread and no Kafka client, which it looks to before it says that it is ready.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any, NoReturn

import confluent_kafka  # noqa: F401 - imported for the forks
import torch  # noqa: F401 - imported for the forks

import include.ingest.batch
import include.prediction.publish
import include.training.worker  # noqa: F401 - imported for the forks
from include.errors import MillraceError, PermanentError
from tests.faults.steps import run_step

THREADS = Path("/proc/self/task")


def serve(control: Connection) -> None:
    """Fork for every job that comes until the other end is closed; nothing that was forked survives that."""
    children: set[int] = set()
    try:
        while True:
            request = json.loads(control.recv_bytes())
            if "reap" in request:
                os.waitpid(request["reap"], 0)
                children.discard(request["reap"])
                continue
            told = Connection(recv_handle(control), readable=False)
            pid = os.fork()
            if pid == 0:
                control.close()
                _run(request, told)
            told.close()
            children.add(pid)
            control.send_bytes(json.dumps(pid).encode())
    except EOFError:
        pass
    finally:
        for pid in children:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _run(job: dict[str, Any], told: Connection) -> NoReturn:
    """What a fork does; it leaves as Airflow's tasks do, without what an interpreter does at its end."""

    def send(event: str, **values: Any) -> None:
        told.send_bytes(json.dumps({"event": event, **values}).encode())

    try:
        # A group of its own, as a task of Airflow has.
        os.setsid()
        send("begun")
        send("done", **run_step(job, send))
    except MillraceError as error:
        send("failed", kind=type(error).__name__, permanent=isinstance(error, PermanentError), text=str(error))
    except BaseException:  # noqa: BLE001 - whatever it is, the parent is told
        send("failed", kind="unexpected", permanent=True, text=traceback.format_exc())
    finally:
        logging.shutdown()
        os._exit(0)


def main() -> None:
    """Serve the connection whose descriptor is the only argument."""
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    threads = [(task / "comm").read_text().strip() for task in THREADS.iterdir()] if THREADS.is_dir() else []
    if len(threads) > 1:
        raise RuntimeError(f"The fork server has the threads {threads} and its forks would have one of them.")
    with Connection(int(sys.argv[1])) as control:
        control.send_bytes(b"ready")
        serve(control)


if __name__ == "__main__":
    main()
