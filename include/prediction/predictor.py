"""Load the registered model that predicts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.artifact.model import load_model
from include.definition.model_reference import CHAMPION
from include.errors import NothingToDo, PermanentError
from include.prediction.json_record import ModelIdentity
from include.registry.record import require_recorded
from include.registry.tracking import RegistryUnavailable, has_no_alias, open_registry
from include.registry.versions import champion, download, version

if TYPE_CHECKING:
    from torch import nn

    from include.codecs import RowStatistics
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.targets.base import Target

log = logging.getLogger(__name__)


class NoChampion(NothingToDo):
    """No version of the pipeline's model has been promoted yet."""


class WrongFormat(PermanentError):
    """The version was trained for another format than the one that the pipeline has now."""


class WrongTask(PermanentError):
    """The version was trained for another task than the one that the pipeline has now."""


@dataclass(frozen=True)
class Predictor:
    """A network in evaluation mode, the meaning of its outputs, its model version, and the statistics of its inputs."""

    network: nn.Module
    target: Target
    identity: ModelIdentity
    statistics: RowStatistics | None = None


def refuse_without_champion(pipeline: Pipeline, wanted: str) -> None:
    """Skip early where it takes no import of MLflow to see that there is no champion.

    Raises:
        NoChampion: the champion is wanted and nothing has been promoted.
    """
    if wanted == CHAMPION and has_no_alias(pipeline.name, CHAMPION):
        raise _no_champion(pipeline)


def _no_champion(pipeline: Pipeline) -> NoChampion:
    return NoChampion(
        f"The model of {pipeline.name} has no champion yet: its requests wait until {pipeline.name}.train has promoted "
        "a version."
    )


def load_predictor(connection: KafkaConnection, pipeline: Pipeline, wanted: str) -> Predictor:
    """Fetch, verify and load a version of the pipeline's model.

    Args:
        wanted: `champion`, or a version's number.

    Raises:
        NoChampion: nothing has been promoted.
        WrongModel: the version is not what was registered, or the champion was never promoted.
        WrongFormat, WrongTask: the pipeline's `[format]` or `training.task` has changed since the version was trained.
        NoSuchVersion, RegistryUnavailable: see include.registry.
    """
    refuse_without_champion(pipeline, wanted)
    registry = open_registry()
    found = champion(registry, pipeline.name) if wanted == CHAMPION else version(registry, pipeline.name, int(wanted))
    if found is None:
        raise _no_champion(pipeline)
    require_recorded(connection, found, promoted=wanted == CHAMPION)
    model = load_model(download(registry, found), found.digest, pipeline.trusted_models)
    card = model.card
    if card.format != pipeline.format:
        raise WrongFormat(
            f"Version {found.number} of {found.name} was trained for the format {card.format!r} and the pipeline has "
            f"{pipeline.format!r}: train a version for it, or restore the [format] table."
        )
    if card.target.task != pipeline.training.task:
        # Whatever reads the predictions would take its answers for broken records.
        raise WrongTask(
            f"Version {found.number} of {found.name} was trained for the task {card.target.task} and the pipeline has "
            f"{pipeline.training.task}: train a version for it, or restore training.task."
        )
    return Predictor(
        model.network,
        card.target,
        ModelIdentity(found.name, found.number, found.digest, found.manifest_id),
        card.statistics,
    )


def newest_champion(connection: KafkaConnection, pipeline: Pipeline, held: Predictor) -> Predictor:
    """The champion: `held` unless another version was promoted since; also while the registry does not answer.

    Raises:
        WrongModel, WrongFormat, WrongTask: see `load_predictor`.
    """
    try:
        found = champion(open_registry(), pipeline.name)
        if found is None or (found.number, found.digest) == (held.identity.version, held.identity.digest):
            return held
        newest = load_predictor(connection, pipeline, CHAMPION)
    except RegistryUnavailable as error:
        log.warning(
            "Version %d goes on, as nothing shows whether it is champion still: %s", held.identity.version, error
        )
        return held
    log.info("Version %d is champion now and predicts from here on.", newest.identity.version)
    return newest
