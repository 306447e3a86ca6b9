"""Load the registered model that predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.artifact.model import load_model
from include.definition.model_reference import CHAMPION
from include.errors import NothingToDo, PermanentError
from include.prediction.json_record import ModelIdentity
from include.registry.tracking import open_registry
from include.registry.versions import champion, download, version

if TYPE_CHECKING:
    from torch import nn

    from include.definition.pipeline import Pipeline
    from include.targets.base import Target


class NoChampion(NothingToDo):
    """No version of the pipeline's model has been promoted yet."""


class WrongFormat(PermanentError):
    """The version was trained for another format than the one that the pipeline has now."""


@dataclass(frozen=True)
class Predictor:
    """A network in evaluation mode, the meaning of its outputs, and its model version."""

    network: nn.Module
    target: Target
    identity: ModelIdentity


def load_predictor(pipeline: Pipeline, wanted: str) -> Predictor:
    """Fetch, verify and load a version of the pipeline's model.

    Args:
        wanted: `champion`, or a version's number.

    Raises:
        NoChampion: nothing has been promoted.
        WrongFormat: the pipeline's `[format]` has changed since the version was trained.
        NoSuchVersion, WrongModel, RegistryUnavailable: see include.registry.
    """
    registry = open_registry()
    found = champion(registry, pipeline.name) if wanted == CHAMPION else version(registry, pipeline.name, int(wanted))
    if found is None:
        raise NoChampion(
            f"The model of {pipeline.name} has no champion yet: its requests wait until {pipeline.name}.train has "
            "promoted a version."
        )
    model = load_model(download(registry, found), found.digest, pipeline.trusted_models)
    if model.codec != pipeline.format:
        raise WrongFormat(
            f"Version {found.number} of {found.name} was trained for the format {model.codec!r} and the pipeline has "
            f"{pipeline.format!r}: train a version for it, or restore the [format] table."
        )
    model.network.eval()
    return Predictor(
        model.network, model.target, ModelIdentity(found.name, found.number, found.digest, found.manifest_id)
    )
