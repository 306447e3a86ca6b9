"""The result of a run, a model directory and its measurements: present as a whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from include.artifact.card import Metrics, ModelCard, SideReport, WrongModel
from include.artifact.model import model_digest, save_model
from include.errors import PermanentError
from include.kinds import Config
from include.network.mistakes import Mistake
from include.storage.atomic import remove_leftovers, whole_directory
from include.storage.removal import remove_folder

if TYPE_CHECKING:
    from torch import nn

RESULT = "result"
FILE = "result.json"
MODEL = "model"


class OtherJob(PermanentError):
    """The run's directory holds files of another job."""


class TrainingOutcome(Config):
    """The content of a result's JSON file.

    Attributes:
        digest: SHA-256 of the model directory's files.
        history: one entry per epoch, see `include.training.loop.TrainedNetwork`.
        confusion: counts by true label (row) and predicted label (column), on the held-out samples; None where a
            sample has not exactly one.
        metric: which of `metrics` decides a promotion.
        mistakes: held-out samples whose label the model gets wrong, a few for each pair of labels.
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
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: its outcome, and where its model's files are."""

    outcome: TrainingOutcome
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


def write_result(
    directory: Path,
    network: nn.Module,
    card: ModelCard,
    *,
    run: str,
    history: Sequence[dict[str, Any]],
    confusion: Sequence[Sequence[int]] | None,
    metric: str,
    mistakes: tuple[Mistake, ...],
) -> TrainingResult:
    """Put model and outcome into the run's directory, in one step; the caller holds its lease.

    Args:
        run, history, confusion, metric, mistakes: see `TrainingOutcome`; the other values of the outcome are the
            card's.

    Raises:
        DiskFull: they do not fit.
    """
    remove_leftovers(directory)
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    with whole_directory(directory / RESULT, size=size) as aside:
        (aside / MODEL).mkdir()
        outcome = TrainingOutcome(
            job=card.job,
            run=run,
            pipeline=card.pipeline,
            manifest_id=card.manifest_id,
            digest=save_model(aside / MODEL, network, card),
            labels=card.manifest.labels,
            metrics=card.metrics,
            train=card.train,
            held_out=card.held_out,
            history=tuple(history),
            confusion=None if confusion is None else tuple(tuple(row) for row in confusion),
            metric=metric,
            mistakes=mistakes,
        )
        (aside / FILE).write_text(outcome.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return TrainingResult(outcome, directory / RESULT / MODEL)


def read_result(directory: Path, job: str) -> TrainingResult | None:
    """The result in the run's directory, its model verified; None where there is none.

    Args:
        job: digest of the job that the result must belong to.

    Raises:
        WrongModel: the result is not readable, or its files were changed since.
        OtherJob: it is another job's.
    """
    path = directory / RESULT
    if not path.is_dir():
        return None
    try:
        outcome = TrainingOutcome.model_validate_json((path / FILE).read_bytes())
    except (OSError, ValidationError) as error:
        first = str(error).partition("\n")[0]
        raise WrongModel(
            f"The result {path / FILE} is not readable ({first}): remove {path} to train again."
        ) from error
    if outcome.job != job:
        raise OtherJob(
            f"The result {path} belongs to job {outcome.job[:12]} and this job is {job[:12]}: use another run "
            "directory, or remove this one."
        )
    found = model_digest(path / MODEL)
    if found != outcome.digest:
        raise WrongModel(
            f"The model in {path} has SHA-256 {found[:12]}… and was written with {outcome.digest[:12]}…: remove it to "
            "train again."
        )
    return TrainingResult(outcome, path / MODEL)


def remove_result(directory: Path) -> None:
    """Remove the result, so that the next attempt trains the job again."""
    remove_folder(directory, directory / RESULT)
