"""Train a model on frozen ranges and register it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from include.errors import PermanentError
from include.kafka.ranges import OffsetRange
from include.metrics import Counters, Gauges
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
        start: the resolved `training.start_from`, as `FreezeRangesOperator` returns it: None for initial weights, also
            in a run that is cleared after there is a champion. `now`, the default, resolves it in each attempt.
        epochs, batch_size, learning_rate: the pipeline's own by default.
    """

    template_fields: Sequence[str] = (
        *PipelineOperator.template_fields,
        "ranges",
        "start",
        "epochs",
        "batch_size",
        "learning_rate",
    )

    def __init__(
        self,
        *,
        ranges: Sequence[Mapping[str, Any]],
        start: Mapping[str, Any] | Literal["now"] | None = "now",
        epochs: int | str | None = None,
        batch_size: int | str | None = None,
        learning_rate: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ranges = ranges
        self.start = start
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        from include.training.versioned import train_version

        run = run_id(context)
        ranges = [OffsetRange.from_dict(item) for item in self.ranges]
        trained = train_version(self._job(pipeline, ranges), connection, run=run, stopped=self.stop_requested)
        # Of an incremental training's ranges in a partition the last one ends where it has learnt to.
        learnt = {(item.topic, item.partition): item for item in sorted(ranges, key=lambda item: item.end)}
        self.attempt(context, pipeline, connection, "train").record_progress(learnt.values())
        outcome = trained.result.outcome
        samples = outcome.train.total
        self.metrics.gauge(Gauges.HELD_OUT_SCORE, trained.result.score, pipeline=pipeline.name, score=outcome.metric)
        self.metrics.count(Counters.TRAIN_SAMPLES, samples, pipeline=pipeline.name)
        return {
            "version": trained.version.number,
            outcome.metric: trained.result.score,
            "samples": samples,
            "run": trained.version.run_id,
            "manifest": trained.version.manifest_id,
        }

    def _job(self, pipeline: Pipeline, ranges: list[OffsetRange]) -> TrainingJob:
        from pydantic import ValidationError

        from include.training.job import TrainingJob
        from include.training.start import Start, resolve_start

        if self.start == "now":
            start = resolve_start(pipeline)
        else:
            start = None if self.start is None else Start.model_validate(self.start)
        try:
            return TrainingJob.of(
                pipeline,
                ranges,
                start=start,
                epochs=None if self.epochs is None else int(self.epochs),
                batch_size=None if self.batch_size is None else int(self.batch_size),
                learning_rate=None if self.learning_rate is None else float(self.learning_rate),
            )
        except ValidationError as error:
            raise PermanentError(
                f"The training of {pipeline.name} has invalid arguments: {faults_of(error)}."
            ) from error
