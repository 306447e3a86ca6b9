"""Storing a finished training: its model, card and outcome."""

import datetime as dt
from pathlib import Path

from include.artifact.card import Metrics, ModelCard
from include.artifact.result import TrainingResult, write_result
from include.training.job import TrainingJob
from include.training.loop import TrainedNetwork


def store_result(directory: Path, job: TrainingJob, run: str, trained: TrainedNetwork) -> TrainingResult:
    """Put a job's result into its run's directory, in one step; the caller holds its lease.

    Raises:
        DiskFull: it does not fit.
    """
    evaluation = trained.evaluation
    card = ModelCard(
        pipeline=job.pipeline,
        model=job.model,
        format=job.format,
        manifest=job.manifest,
        manifest_id=job.manifest.id,
        job=job.digest,
        scale=trained.scale,
        statistics=trained.statistics,
        reference=trained.reference,
        metrics=Metrics(**evaluation.metrics, loss=evaluation.loss, samples=evaluation.samples),
        train=trained.train,
        held_out=trained.held_out,
        training=job.model_dump(mode="json", exclude={"manifest", "format", "model"}),
        software=trained.software,
        created=dt.datetime.now(dt.UTC),
    )
    return write_result(
        directory,
        trained.network,
        card,
        run=run,
        history=trained.history,
        confusion=None if evaluation.confusion is None else evaluation.confusion.tolist(),
        metric=evaluation.metric,
        mistakes=trained.mistakes,
    )
