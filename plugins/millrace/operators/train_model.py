"""Train a model on frozen ranges and register it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from include.errors import PermanentError
from include.kafka.ranges import OffsetRange
from include.metrics import Counters, Gauges
from millrace.lineage import Lineage, model, topics
from millrace.operators.base import PipelineOperator, faults_of, run_id

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob


class TrainModelOperator(PipelineOperator):
    """Train in a process of its own, log the run to MLflow, register a version, and record the progress.

    The retry of a killed run waits until the old trainer is gone, resumes from the last undamaged checkpoint, and ends
    with the weights of a run that was never killed. The same run and settings register one version.

    Returns `version`, `accuracy` on the held-out samples (`micro_f1` or `r2` in other tasks than classification),
    `samples` (trained on), `run` (MLflow's) and `manifest`.

    Args:
        ranges: frozen ranges of the samples topic, as `FreezeRangesOperator` returns them.
        start: the resolved `training.start_from`, as `FreezeRangesOperator` returns it: None for random weights, also
            in a run that is cleared after there is a champion. `now`, the default, resolves it in each attempt.
        as_of: the time that the ranges are of, as `FreezeRangesOperator` returns it. A training of an earlier time
            does not record what it has learnt from: the next training counts all samples as new that it counted before.
        epochs, batch_size, learning_rate: the pipeline's own by default.
    """

    step = "train"
    template_fields: Sequence[str] = (
        *PipelineOperator.template_fields,
        "ranges",
        "start",
        "as_of",
        "epochs",
        "batch_size",
        "learning_rate",
    )

    def __init__(
        self,
        *,
        ranges: Sequence[Mapping[str, Any]],
        start: Mapping[str, Any] | Literal["now"] | None = "now",
        as_of: str | None = None,
        epochs: int | str | None = None,
        batch_size: int | str | None = None,
        learning_rate: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ranges = ranges
        self.start = start
        self.as_of = as_of
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        from include.planning.preflight import before_training, refuse_short_retention
        from include.training.backlog import record_training
        from include.training.job import run_directory
        from include.training.versioned import train_version

        run = run_id(context)
        ranges = [OffsetRange(**item) for item in self.ranges]
        job = self._job(connection, pipeline, ranges)
        cache_bytes, folder = pipeline.training.cache_bytes, run_directory(job, run)
        if not folder.exists():
            # An attempt that goes on where another one ended has less to do than is known here.
            before_training(connection, pipeline, job, folder=folder, cache_bytes=cache_bytes)

        def on_progress(answer: dict[str, Any]) -> None:
            if answer["event"] == "started" and not answer["resumed"]:
                refuse_short_retention(connection, job)

        trained = train_version(
            job, connection, run=run, cache_bytes=cache_bytes, stopped=self.stop_requested, on_progress=on_progress
        )
        if self.as_of is None:
            record_training(self.attempt(context, pipeline, connection, "train"), ranges)
        outcome = trained.result.outcome
        samples = outcome.train.total
        self.metrics.gauge(Gauges.HELD_OUT_SCORE, trained.result.score, pipeline=pipeline.name, score=outcome.metric)
        self.metrics.count(Counters.TRAIN_SAMPLES, samples, pipeline=pipeline.name)
        version = trained.version
        self.lineage = Lineage(
            topics(connection, ranges),
            [model(version.name, version.number)],
            {"manifest": version.manifest_id, "version": version.number, "samples": samples},
        )
        return {
            "version": version.number,
            outcome.metric: trained.result.score,
            "samples": samples,
            "run": version.run_id,
            "manifest": version.manifest_id,
        }

    def _job(self, connection: KafkaConnection, pipeline: Pipeline, ranges: list[OffsetRange]) -> TrainingJob:
        from pydantic import ValidationError

        from include.training.initial_weights import InitialWeights, resolve_initial_weights
        from include.training.job import TrainingJob

        if self.start == "now":
            initial = resolve_initial_weights(connection, pipeline)
        else:
            initial = None if self.start is None else InitialWeights.model_validate(self.start)
        try:
            return TrainingJob.of(
                pipeline,
                ranges,
                start=initial,
                epochs=None if self.epochs is None else int(self.epochs),
                batch_size=None if self.batch_size is None else int(self.batch_size),
                learning_rate=None if self.learning_rate is None else float(self.learning_rate),
            )
        except ValidationError as error:
            raise PermanentError(
                f"The training of {pipeline.name} has invalid arguments: {faults_of(error)}."
            ) from error
