"""A model as files: weights and a card that says what they are, bound together by one digest."""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from include.definition.pipeline import AnyCodec, AnyModel
from include.errors import PermanentError
from include.feed.manifest import Manifest
from include.kinds import Config
from include.models.imported import ImportedModel
from include.network.build import WrongNetwork, build_network
from include.storage.atomic import files_digest
from include.targets.base import Target
from include.targets.regression import Scale
from include.targets.tasks import target_of

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "weights.safetensors"
CARD = "model_card.json"
LIBRARIES = ("torch", "safetensors", "numpy", "confluent-kafka", "pillow", "simplejpeg", "soundfile", "soxr")


class WrongModel(PermanentError):
    """The files are not those of the version that was asked for, or no model of this project."""


class UntrustedModel(WrongModel):
    """A version's card names code to import that the pipeline's own file does not name."""


class Metrics(Config):
    """What the trained network reached on the held-out samples, beside loss and samples the metrics by name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)

    loss: float
    samples: int


class SideReport(Config):
    """Samples by label and refused records by reason, of one side of the split; and those without a label yet.

    A sample may have several labels or none: `total` is how many there are. `unlabelled` have none yet.
    """

    total: int
    samples: dict[str, int]
    refused: dict[str, int]
    unlabelled: int = 0
    examples: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_label_each(cls, values: Any) -> Any:
        """Reports from before there were other tasks have no total."""
        if isinstance(values, dict) and "total" not in values:
            return {"total": sum(values["samples"].values()), **values}
        return values


class ModelCard(Config):
    """What a person, and `load_model`, need to know of the weights beside it."""

    card: Literal[1] = 1
    pipeline: str
    model: AnyModel
    format: AnyCodec
    manifest: Manifest
    manifest_id: str
    job: str
    scale: Scale | None = None
    metrics: Metrics
    train: SideReport
    held_out: SideReport
    training: dict[str, Any]
    software: dict[str, str]
    created: dt.datetime

    @property
    def target(self) -> Target:
        """What the outputs mean."""
        manifest = self.manifest
        return target_of(manifest.task, manifest.labels, separator=manifest.separator, scale=self.scale)


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode, on the CPU, and the card that came with it."""

    network: nn.Module
    card: ModelCard
    digest: str

    @property
    def target(self) -> Target:
        """What its outputs mean."""
        return self.card.target

    @property
    def codec(self) -> AnyCodec:
        """How records become the network's inputs."""
        return self.card.format

    @property
    def manifest_id(self) -> str:
        return self.card.manifest_id


def software(device: str) -> dict[str, str]:
    """The versions that decide the bits of a result."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device,
        **{name: version(name) for name in LIBRARIES},
    }


def save_model(directory: Path, network: nn.Module, card: ModelCard) -> str:
    """Write weights and card into an existing directory that nobody else sees yet; returns their digest."""
    from safetensors.torch import save_file

    # Clones, because safetensors refuses tensors that share their memory.
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(weights, directory / WEIGHTS)
    (directory / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return model_digest(directory)


def model_digest(directory: Path) -> str:
    """SHA-256 over weights and card, in hexadecimal.

    Raises:
        WrongModel: a file is missing.
    """
    try:
        return files_digest(directory, (WEIGHTS, CARD))
    except OSError as error:
        raise WrongModel(
            f"The model in {directory} is not whole ({error}): both {WEIGHTS} and {CARD} must be there, so fetch the "
            "version again or train a new one."
        ) from error


def read_card(directory: Path) -> ModelCard:
    """The card of a model whose files were verified when they were fetched.

    Raises:
        WrongModel: it is none that this version of the code reads.
    """
    try:
        return ModelCard.model_validate_json((directory / CARD).read_bytes())
    except ValidationError as error:
        raise WrongModel(
            f"The model card in {directory} is not readable by this version of the code "
            f"({str(error).splitlines()[0]}): train a new version."
        ) from error


def load_model(directory: Path, expected_digest: str, trusted: Collection[str] = ()) -> LoadedModel:
    """Load a model whose files are proven to be those of the version; nothing is ever unpickled.

    Args:
        trusted: the `module:name` kinds that may be imported for it, see `Pipeline.trusted_models`.

    Raises:
        UntrustedModel: the card names code that the pipeline's file does not; it was not imported.
        WrongModel: the digest differs (nothing was loaded then), the card is not readable, or the weights do not fit
            the network that the model's definition builds today.
    """
    from safetensors.torch import load_file

    found = model_digest(directory)
    if found != expected_digest:
        raise WrongModel(
            f"The model in {directory} has SHA-256 {found[:12]}… and its version was registered with "
            f"{expected_digest[:12]}…: its files were changed, so fetch the version again or train a new one."
        )
    try:
        card = ModelCard.model_validate_json((directory / CARD).read_bytes())
        refuse_untrusted(card, trusted)
        network = build_network(card.model, card.format.input_shape, card.target, file=f"{card.pipeline}.toml")
        network.load_state_dict(load_file(directory / WEIGHTS))
    except (ValidationError, WrongNetwork, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise WrongModel(
            f"The model in {directory} does not fit this version of the code ({first}): restore the definition that it "
            "was trained with, or train a new one."
        ) from error
    return LoadedModel(network.eval(), card, found)


def refuse_untrusted(card: ModelCard, trusted: Collection[str]) -> None:
    """Refuse a card that would have code imported which nobody named here.

    Raises:
        UntrustedModel: see `load_model`.
    """
    if isinstance(card.model, ImportedModel) and card.model.kind not in trusted:
        allowed = ", ".join(sorted(trusted)) or "none"
        raise UntrustedModel(
            f"The model card names the code {card.model.kind!r} and {card.pipeline}.toml trusts {allowed}: if it is "
            "yours, name it in promotion.earlier_models; otherwise train a new version."
        )
