"""The ingest operator in its own process, which halts at a point until it is killed."""

from __future__ import annotations

import sys

from include.ingest import chunk
from millrace.operators import ProduceBatchOperator
from tests.faults.points import halt_at
from tests.support.operators import DagRun, context_of

CHUNK = 4


def main(pipeline: str, batch_id: str, point: str, transaction: str) -> None:
    halt_at(point, int(transaction), lambda: print("halted", flush=True))  # noqa: T201
    chunk.CHUNK_SAMPLES = CHUNK
    operator = ProduceBatchOperator(task_id="produce_batch", pipeline=pipeline, batch=batch_id)
    operator.execute(context_of(DagRun("d", "r")))


if __name__ == "__main__":
    main(*sys.argv[1:])
