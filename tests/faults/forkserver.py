"""`python -m tests.faults.forkserver FD`: imports what the steps need, and forks a process for each job.

A new interpreter takes seconds to import torch; a fork needs none. Forking is safe while this process has one thread
and no Kafka client, which it checks before it reports that it is ready.
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
    """Fork a process for every job until the other end closes, and kill those that still run then."""
    children: set[int] = set()
    try:
        while True:
            request = json.loads(control.recv_bytes())
            if "reap" in request:
                os.waitpid(request["reap"], 0)
                children.discard(request["reap"])
                continue
            events = Connection(recv_handle(control), readable=False)
            pid = os.fork()
            if pid == 0:
                control.close()
                _run(request, events)
            events.close()
            children.add(pid)
            control.send_bytes(json.dumps(pid).encode())
    except EOFError:
        pass
    finally:
        for pid in children:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _run(job: dict[str, Any], events: Connection) -> NoReturn:
    """Run a job in a fork, and exit as Airflow's tasks do, without the interpreter's cleanup."""

    def send(event: str, **values: Any) -> None:
        events.send_bytes(json.dumps({"event": event, **values}).encode())

    try:
        # A process group of its own, as an Airflow task has.
        os.setsid()
        send("begun")
        send("done", **run_step(job, send))
    except MillraceError as error:
        send("failed", kind=type(error).__name__, permanent=isinstance(error, PermanentError), text=str(error))
    except BaseException:  # noqa: BLE001 - the parent gets every error
        send("failed", kind="unexpected", permanent=True, text=traceback.format_exc())
    finally:
        logging.shutdown()
        os._exit(0)


def main() -> None:
    """Serve the connection whose file descriptor is the only argument."""
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    threads = [(task / "comm").read_text().strip() for task in THREADS.iterdir()] if THREADS.is_dir() else []
    if len(threads) > 1:
        raise RuntimeError(f"The fork server has the threads {threads}, and a fork would have only one of them.")
    with Connection(int(sys.argv[1])) as control:
        control.send_bytes(b"ready")
        serve(control)


if __name__ == "__main__":
    main()
