"""The result of a run: a model directory and what was measured, there whole or not at all."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from include.artifact.model import Metrics, ModelCard, SideReport, WrongModel, model_digest, save_model
from include.kinds import Config
from include.storage.atomic import remove_leftovers, whole_directory
from include.training.checkpoint import OtherJob

if TYPE_CHECKING:
    from include.training.job import TrainingJob
    from include.training.loop import Trained

RESULT = "result"
FILE = "result.json"
MODEL = "model"


class Outcome(Config):
    """The content of a result's JSON file.

    Attributes:
        digest: SHA-256 of the model directory's files.
        history: one entry per epoch, see `include.training.loop.Trained`.
        confusion: counts by true label (row) and predicted label (column), on the held-out samples; None where a
            sample has not exactly one.
        metric: name of the one among `metrics` that decides a promotion.
    """

    job: str
    run: str
    pipeline: str
    manifest_id: str
    digest: str
    labels: tuple[str, ...]
    metrics: Metrics
    train: SideReport
    held_out: SideReport
    history: tuple[dict[str, Any], ...]
    confusion: tuple[tuple[int, ...], ...] | None
    metric: str = "accuracy"


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: its outcome, and where its model's files are."""

    outcome: Outcome
    model_directory: Path

    @property
    def digest(self) -> str:
        """SHA-256 of the model's files."""
        return self.outcome.digest

    @property
    def score(self) -> float:
        """The metric that decides a promotion, on the held-out samples."""
        score: float = getattr(self.outcome.metrics, self.outcome.metric)
        return score


def write_result(directory: Path, job: TrainingJob, run: str, trained: Trained) -> TrainingResult:
    """Put model and outcome into the run's directory, in one step; the caller holds its lease.

    Raises:
        DiskFull: they do not fit.
    """
    evaluation, confusion = trained.evaluation, trained.evaluation.confusion
    metrics = Metrics(**evaluation.metrics, loss=evaluation.loss, samples=evaluation.samples)
    card = ModelCard(
        pipeline=job.pipeline,
        model=job.model,
        format=job.format,
        manifest=job.manifest,
        manifest_id=job.manifest.id,
        job=job.digest,
        scale=trained.scale,
        metrics=metrics,
        train=trained.train,
        held_out=trained.held_out,
        training=job.model_dump(mode="json", exclude={"manifest", "format", "model"}),
        software=trained.software,
        created=dt.datetime.now(dt.UTC),
    )
    remove_leftovers(directory)
    size = sum(tensor.nbytes for tensor in trained.network.state_dict().values())
    with whole_directory(directory / RESULT, size=size) as aside:
        (aside / MODEL).mkdir()
        outcome = Outcome(
            job=job.digest,
            run=run,
            pipeline=job.pipeline,
            manifest_id=job.manifest.id,
            digest=save_model(aside / MODEL, trained.network, card),
            labels=job.manifest.labels,
            metrics=metrics,
            train=trained.train,
            held_out=trained.held_out,
            history=tuple(trained.history),
            confusion=None if confusion is None else tuple(tuple(row) for row in confusion.tolist()),
            metric=evaluation.metric,
        )
        (aside / FILE).write_text(outcome.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return TrainingResult(outcome, directory / RESULT / MODEL)


def read_result(directory: Path, job: TrainingJob) -> TrainingResult | None:
    """The result of this job that the run's directory holds, its model verified; None where there is none.

    Raises:
        WrongModel: there is one and its files were changed since.
        OtherJob: it is another job's.
    """
    path = directory / RESULT
    if not path.is_dir():
        return None
    try:
        outcome = Outcome.model_validate_json((path / FILE).read_bytes())
    except (OSError, ValidationError) as error:
        first = str(error).partition("\n")[0]
        raise WrongModel(
            f"The result {path / FILE} is not readable ({first}): remove {path} to train again."
        ) from error
    if outcome.job != job.digest:
        raise OtherJob(
            f"The result {path} belongs to job {outcome.job[:12]} and this job is {job.digest[:12]}: use another run "
            "directory, or remove this one."
        )
    found = model_digest(path / MODEL)
    if found != outcome.digest:
        raise WrongModel(
            f"The model in {path} has SHA-256 {found[:12]}… and {outcome.digest[:12]}… was written: remove it to train "
            "again."
        )
    return TrainingResult(outcome, path / MODEL)


def remove_result(directory: Path) -> None:
    """Remove the result, so that the job is trained again."""
    shutil.rmtree(directory / RESULT)
