"""A step in a process of its own that halts at a named point of its n-th transaction, so that it can be killed there.

`kill_at` starts it and kills it when it stands there; `python -m tests.killable` is the process itself.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Literal

from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange
from include.kafka.transaction import TransactionalWriter
from include.pipeline import KINDS
from include.state import PROJECT_ROOT
from tests.tiny import tiny_pipeline

if TYPE_CHECKING:
    from include.pipeline import Pipeline

Point = Literal["before begin", "before commit", "after commit"]

HALTED = "halted"
TIMEOUT_S = 60


def kill_at(point: Point, transaction: int, job: dict[str, Any]) -> None:
    """Run `job` in another process and SIGKILL it at a point of its n-th transaction, counted from 1."""
    arguments = [
        sys.executable,
        "-m",
        "tests.killable",
        json.dumps({"point": point, "transaction": transaction, **job}),
    ]
    with TemporaryFile("w+") as told:
        process = subprocess.Popen(arguments, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=told, text=True)
        assert process.stdout is not None
        with process.stdout as output, selectors.DefaultSelector() as selector:
            try:
                selector.register(output, selectors.EVENT_READ)
                assert selector.select(TIMEOUT_S), f"{job['step']} did not halt {point} within {TIMEOUT_S} s"
                if output.readline().strip() != HALTED:
                    told.seek(0)
                    status = process.wait(TIMEOUT_S)
                    raise AssertionError(f"{job['step']} ended with {status} and did not halt {point}: {told.read()}")
            finally:
                process.kill()
                process.wait(TIMEOUT_S)


def ingest_job(kafka: KafkaConnection, pipeline: Pipeline, batch: str, *, records: int, chunk: int) -> dict[str, Any]:
    job = {"step": "ingest", **_shared(kafka, pipeline), "batch": batch, "records": records, "chunk": chunk}
    if pipeline.source.kind in KINDS["source"]:
        job["tables"] = pipeline.model_dump(mode="json", include={"format", "source", "topics", "ingest"})
    return job


def predict_job(kafka: KafkaConnection, pipeline: Pipeline, ranges: list[OffsetRange]) -> dict[str, Any]:
    tables = {"prediction": pipeline.prediction.model_dump()}
    return {"step": "predict", **_shared(kafka, pipeline), "tables": tables, "ranges": [r.to_dict() for r in ranges]}


def replay_job(kafka: KafkaConnection, pipeline: Pipeline, *, number: int, run: str, chunk: int) -> dict[str, Any]:
    return {"step": "replay", **_shared(kafka, pipeline), "number": number, "run": run, "chunk": chunk}


def _shared(kafka: KafkaConnection, pipeline: Pipeline) -> dict[str, Any]:
    return {
        "settings": dict(kafka.settings),
        "environment": kafka.environment,
        "pipeline": pipeline.name,
        "total": pipeline.source.count(),
    }


def _halt() -> None:
    print(HALTED, flush=True)  # noqa: T201 - the parent waits for this line
    threading.Event().wait()


def _halting(point: Point, wanted: int) -> None:
    """Let the transactional writer halt in its `wanted`-th transaction of this process."""
    transaction, commit = TransactionalWriter.transaction, TransactionalWriter._commit
    begun = 0

    @contextmanager
    def halting_transaction(writer: TransactionalWriter) -> Iterator[None]:
        nonlocal begun
        begun += 1
        if begun == wanted and point == "before begin":
            _halt()
        with transaction(writer):
            yield

    def halting_commit(writer: TransactionalWriter) -> None:
        if begun == wanted and point == "before commit":
            # Until the flush the records may still lie in this process alone, and dying with them proves nothing.
            writer._producer.flush(TIMEOUT_S)
            _halt()
        commit(writer)
        if begun == wanted and point == "after commit":
            _halt()

    TransactionalWriter.transaction = halting_transaction  # type: ignore[method-assign]
    TransactionalWriter._commit = halting_commit  # type: ignore[method-assign]


def _run(job: dict[str, Any]) -> None:
    kafka = KafkaConnection(job["settings"], timeout_s=10, environment=job["environment"])
    pipeline = tiny_pipeline(job["pipeline"], total=job["total"], **job.get("tables", {}))
    _halting(job["point"], job["transaction"])
    if job["step"] == "ingest":
        from include.ingest import batch

        batch.CHUNK_SAMPLES = job["chunk"]
        batch.ingest_batch(kafka, pipeline, job["batch"], records=job["records"], run="killed")
    elif job["step"] == "replay":
        from include.replay import replay
        from include.replay.choice import Choice

        replay.CHUNK_RECORDS = job["chunk"]
        replay.replay_dead_letters(kafka, pipeline, Choice(number=job["number"]), run=job["run"])
    else:
        from include.prediction.publish import publish_predictions
        from tests.tiny import tiny_predictor

        ranges = [OffsetRange.from_dict(item) for item in job["ranges"]]
        publish_predictions(kafka, pipeline, ranges, tiny_predictor(), run="killed")


if __name__ == "__main__":
    _run(json.loads(sys.argv[1]))
