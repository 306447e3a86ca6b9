"""The model card: what a model is, what it was trained on, and what it reached on the held-out samples."""

import datetime as dt
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from include.codecs import RowStatistics
from include.definition.kinds import AnyCodec, AnyModel
from include.errors import PermanentError
from include.feed.manifest import Manifest
from include.kinds import Config
from include.network.reference import Reference
from include.targets.base import Target
from include.targets.regression import Scale
from include.targets.tasks import target_of

CARD = "model_card.json"
LIBRARIES = ("torch", "safetensors", "numpy", "confluent-kafka", "pillow", "simplejpeg", "soundfile", "soxr")


class WrongModel(PermanentError):
    """The files are not those of the wanted version, or no model of this project."""


class Metrics(Config):
    """The trained network on the held-out samples: loss, number of samples, and each metric under its own name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)

    loss: float
    samples: int


class SideReport(Config):
    """What the feed met on one side of the split.

    Attributes:
        total: number of samples; a sample may have several labels or none.
        samples: number of samples by label.
        refused: number of refused records by reason.
        unlabelled: number of samples that have no label yet, where labels come late.
        superseded, deletions: number of records that are no row's state, where the topic holds versions of rows.
        examples: the first few refusals, as sentences.
    """

    total: int
    samples: dict[str, int]
    refused: dict[str, int]
    unlabelled: int = 0
    superseded: Annotated[int, Field(exclude_if=lambda count: not count)] = 0
    deletions: Annotated[int, Field(exclude_if=lambda count: not count)] = 0
    examples: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_label_each(cls, values: Any) -> Any:
        """Reports from before there were tasks other than classification have no total."""
        if isinstance(values, dict) and "total" not in values:
            return {"total": sum(values["samples"].values()), **values}
        return values


class ModelCard(Config):
    """What a person and `load_model` need to know about the weights beside it."""

    card: Literal[1] = 1
    pipeline: str
    model: AnyModel
    format: AnyCodec
    manifest: Manifest
    manifest_id: str
    job: str
    scale: Scale | None = None
    statistics: Annotated[RowStatistics | None, Field(exclude_if=lambda found: found is None)] = None
    # Models from before there was one have none.
    reference: Annotated[Reference | None, Field(exclude_if=lambda found: found is None)] = None
    metrics: Metrics
    train: SideReport
    held_out: SideReport
    training: dict[str, Any]
    software: dict[str, str]
    created: dt.datetime

    @property
    def codec(self) -> AnyCodec:
        """How records become the network's inputs, with the statistics of the training samples."""
        return self.format.with_statistics(self.statistics)

    @property
    def target(self) -> Target:
        manifest = self.manifest
        return target_of(manifest.task, manifest.labels, separator=manifest.separator, scale=self.scale)


def software(device: str) -> dict[str, str]:
    """The versions that a result's bits depend on."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device,
        **{name: version(name) for name in LIBRARIES},
    }


def read_card(directory: Path) -> ModelCard:
    """The card of a model whose files were verified when they were fetched.

    Raises:
        WrongModel: this version of the code can't read it.
    """
    try:
        return ModelCard.model_validate_json((directory / CARD).read_bytes())
    except ValidationError as error:
        raise WrongModel(
            f"The model card in {directory} is not readable by this version of the code "
            f"({str(error).splitlines()[0]}): train a new version."
        ) from error
