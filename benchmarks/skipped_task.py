"""A task that finds nothing, executed as Airflow's task process does: what it costs after the task runner's imports.

`python -m benchmarks.skipped_task PIPELINE OPERATOR ARGUMENTS` prints JSON: `seconds`, `share` (of the CPU time
of these imports), the packages that it imported and why it skipped. Without arguments it only imports the task runner.
"""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import airflow.sdk.execution_time.task_runner  # noqa: F401 - what every task of Airflow pays


def skip(pipeline: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Execute an operator, which has to skip.

    Raises:
        RuntimeError: it found something to do.
    """
    before, began, cpu = set(sys.modules), time.perf_counter(), time.process_time()

    from airflow.sdk.exceptions import AirflowSkipException

    import millrace.operators
    import millrace.workflow

    run = SimpleNamespace(dag_id=f"{pipeline}.dag", run_id="run", run_type="manual", data_interval_start=None)
    operator = getattr(millrace.operators, name)(task_id="task", pipeline=pipeline, **arguments)
    try:
        # Without a logger librdkafka writes to stderr what its setting `debug` asks for; a logger gets a part of it.
        with patch("include.kafka.connection.client_log", None):
            result = operator.execute({"dag_run": run, "outlet_events": {}})
    except AirflowSkipException as reason:
        return {
            "seconds": time.perf_counter() - began,
            "share": time.process_time() / cpu - 1,
            "packages": sorted({module.partition(".")[0] for module in set(sys.modules) - before}),
            "reason": str(reason),
        }
    raise RuntimeError(f"The task was to find nothing, and it returned {result}: empty its topics.")


if __name__ == "__main__":
    if arguments := sys.argv[1:]:
        print(json.dumps(skip(arguments[0], arguments[1], json.loads(arguments[2]))))
