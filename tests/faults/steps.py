"""The steps of Millrace as the fault suite runs them: one process for each job, described by a JSON object."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.definition.kinds import KINDS
from include.exactly_once.attempt import Attempt
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange
from tests.faults.control_worker import disable_transactions
from tests.faults.points import halt_at
from tests.support.tiny_pipelines import Numbers, tiny_challenger, tiny_pipeline, tiny_predictor

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.training.job import TrainingJob

Job = dict[str, Any]
# Gets the name of an event and its values.
Tell = Callable[..., None]


def ingest_job(
    kafka: KafkaConnection, pipeline: Pipeline, batch: str, *, records: int, chunk: int, pace_s: float = 0
) -> Job:
    """`ingest_batch` of a pipeline of `tests.support.tiny_pipelines`, or of one whose source is a bundled kind.

    Args:
        chunk: samples of a transaction.
        pace_s: seconds to wait before each transaction.
    """
    job = {**_shared("ingest", kafka, pipeline, pace_s), "batch": batch, "records": records, "chunk": chunk}
    if pipeline.source.kind in KINDS["source"]:
        job["tables"] = pipeline.model_dump(mode="json", include={"format", "source", "topics", "ingest"})
    return job


def predict_job(
    kafka: KafkaConnection, pipeline: Pipeline, ranges: list[OffsetRange], *, pace_s: float = 0, control: bool = False
) -> Job:
    """`publish_predictions` of a pipeline of `tests.support.tiny_pipelines`.

    Args:
        control: commit the position only after the results are in the topics, without transactions.
    """
    shared = _shared("predict", kafka, pipeline, pace_s)
    tables = {table: getattr(pipeline, table).model_dump() for table in ("prediction", "promotion")}
    if pipeline.source is None:  # its topics are external
        named = {"topics", "envelope", "labels", "training"}
        # Keys that are not set stay so: some are refused where they have no meaning.
        tables |= {"source": None, **pipeline.model_dump(mode="json", include=named, exclude_unset=True)}
    return {**shared, "tables": tables, "ranges": [item.to_dict() for item in ranges], "control": control}


def replay_job(kafka: KafkaConnection, pipeline: Pipeline, *, number: int, run: str, chunk: int) -> Job:
    """`replay_dead_letters` of a pipeline of `tests.support.tiny_pipelines`.

    Args:
        chunk: dead letters of a transaction.
    """
    return {**_shared("replay", kafka, pipeline, 0), "number": number, "run": run, "chunk": chunk}


def export_job(kafka: KafkaConnection, pipeline: Pipeline, folder: Path, *, rows: int) -> Job:
    """`export_predictions` of a pipeline of `tests.support.tiny_pipelines` into a local folder.

    Args:
        rows: records of a piece.
    """
    return {**_shared("export", kafka, pipeline, 0), "folder": str(folder), "rows": rows}


def train_job(kafka: KafkaConnection, job: TrainingJob, directory: Path, *, fresh: bool = False) -> Job:
    """`run_training`.

    Args:
        fresh: start the trainer as a fresh interpreter, as it is outside tests; otherwise it is forked from the task's
            process, which saves seconds and lets it halt at points.
    """
    return {
        "step": "train",
        "connection": _connection(kafka),
        "job": job.model_dump(mode="json"),
        "directory": str(directory),
        "fresh": fresh,
    }


def run_step(job: Job, send: Tell) -> Job:
    """Run a job to its end in this process, which does nothing else afterwards; returns what it did."""
    steps: dict[str, Callable[[Job, KafkaConnection, Tell], Job]] = {
        "ingest": _ingest,
        "predict": _predict,
        "replay": _replay,
        "export": _export,
        "train": _train,
    }
    return steps[job["step"]](job, KafkaConnection(**job["connection"]), send)


def _connection(kafka: KafkaConnection) -> Job:
    return {"settings": dict(kafka.settings), "timeout_s": kafka.timeout_s, "environment": kafka.environment}


def _shared(step: str, kafka: KafkaConnection, pipeline: Pipeline, pace_s: float) -> Job:
    return {
        "step": step,
        "connection": _connection(kafka),
        "pipeline": pipeline.name,
        "total": pipeline.source.total if isinstance(pipeline.source, Numbers) else 0,
        "pace_s": pace_s,
    }


def _ingest(job: Job, kafka: KafkaConnection, send: Tell) -> Job:
    from include.ingest import chunk
    from include.ingest.batch import ingest_batch

    _halt(job, send)
    chunk.CHUNK_SAMPLES = job["chunk"]
    pipeline = tiny_pipeline(job["pipeline"], total=job["total"], **job.get("tables", {}))
    attempt = Attempt(kafka, pipeline.name, "ingest", "faults", stopped=_pace(job, send))
    result = ingest_batch(attempt, pipeline, job["batch"], records=job["records"])
    return {"sent": result.sent_now}


def _predict(job: Job, kafka: KafkaConnection, send: Tell) -> Job:
    from include.prediction.publish import publish_predictions

    if job["control"]:
        disable_transactions()
    _halt(job, send)
    pipeline = tiny_pipeline(job["pipeline"], total=job["total"], **job["tables"])
    ranges = [OffsetRange(**item) for item in job["ranges"]]
    attempt = Attempt(kafka, pipeline.name, "predict", "faults", stopped=_pace(job, send))
    challenger = None
    if pipeline.promotion.shadow:
        beside = tiny_challenger()
        challenger = lambda champion, held: beside  # noqa: ARG005, E731
    published = publish_predictions(attempt, pipeline, ranges, tiny_predictor(), challenger=challenger)
    return {"sent": published.samples}


def _replay(job: Job, kafka: KafkaConnection, send: Tell) -> Job:
    from include.replay import replay
    from include.replay.selection import Selection

    _halt(job, send)
    replay.CHUNK_RECORDS = job["chunk"]
    pipeline = tiny_pipeline(job["pipeline"], total=job["total"])
    done = replay.replay_dead_letters(
        Attempt(kafka, pipeline.name, "replay", job["run"]), pipeline, Selection(number=job["number"])
    )
    return {"sent": done.replayed_now}


def _export(job: Job, kafka: KafkaConnection, send: Tell) -> Job:
    from include.export.export import export_predictions
    from include.export.folder import ExportFolder

    _halt(job, send)
    pipeline = tiny_pipeline(job["pipeline"], total=job["total"])
    attempt = Attempt(kafka, pipeline.name, "export", "faults")
    done = export_predictions(attempt, pipeline, ExportFolder(job["folder"]), rows=job["rows"])
    return {"sent": done.rows}


def _train(job: Job, kafka: KafkaConnection, send: Tell) -> Job:
    from include.training.job import TrainingJob
    from include.training.launch import run_training

    if not job["fresh"]:
        _fork_trainers(job.get("halt"))
    result = run_training(
        TrainingJob.model_validate(job["job"]),
        kafka,
        Path(job["directory"]),
        run="faults",
        on_progress=lambda answer: send(answer["event"], pid=answer.get("pid")),
    )
    return {"model": str(result.model_directory)}


def _halt(job: Job, send: Tell) -> None:
    if halt := job.get("halt"):
        halt_at(halt["point"], halt["number"], lambda: send("halted"))


def _pace(job: Job, send: Tell) -> Callable[[], bool]:
    """A `stopped` that steps call before each chunk and commit: it slows them down and never stops them."""

    def stopped() -> bool:
        send("chunk")
        time.sleep(job["pace_s"])
        return False

    return stopped


def _fork_trainers(halt: Job | None) -> None:
    """Make the next child of this process a fork that becomes the trainer, without a new interpreter."""
    subprocess.Popen = functools.partial(  # type: ignore[misc, assignment]
        subprocess.Popen, preexec_fn=functools.partial(_become_trainer, halt)
    )


def _become_trainer(halt: Job | None) -> None:
    """Runs in a child of `Popen` after its pipes are set up, in place of its program."""
    from include.training import worker

    status = worker.FAILED
    try:
        # Among them the pipe whose closing shows `Popen` that the program runs.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        if halt:
            halted = json.dumps({"event": "halted"})
            halt_at(halt["point"], halt["number"], lambda: print(halted, file=answers, flush=True))
        status = worker.main()
    finally:
        os._exit(status)
