"""A model directory: the weights and their card, bound together by one digest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from include.artifact.card import CARD, ModelCard, WrongModel
from include.models.imported import ImportedModel
from include.network.build import WrongNetwork, build_network
from include.storage.atomic import files_digest

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "weights.safetensors"


class UntrustedModel(WrongModel):
    """A version's card names code to import that the pipeline's file does not name."""


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode, on the CPU, and its card."""

    network: nn.Module
    card: ModelCard
    digest: str


def save_model(directory: Path, network: nn.Module, card: ModelCard) -> str:
    """Write weights and card into an existing directory that no other process reads yet; returns their digest."""
    from safetensors.torch import save_file

    # Clones, because safetensors refuses tensors that share memory.
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


def load_model(directory: Path, expected_digest: str, trusted: Collection[str] = ()) -> LoadedModel:
    """Load a model after verifying that its files are those of the version; nothing is unpickled.

    Args:
        trusted: the `module:name` kinds that may be imported for it, see `Pipeline.trusted_models`.

    Raises:
        UntrustedModel: the card names code that the pipeline's file does not name; it was not imported.
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
        if isinstance(card.model, ImportedModel) and card.model.kind not in trusted:
            allowed = ", ".join(sorted(trusted)) or "none"
            raise UntrustedModel(
                f"The model card names the code {card.model.kind!r} and {card.pipeline}.toml trusts {allowed}: if it "
                "is yours, name it in promotion.earlier_models; otherwise train a new version."
            )
        network = build_network(card.model, card.format.input_shape, card.target, file=f"{card.pipeline}.toml")
        network.load_state_dict(load_file(directory / WEIGHTS))
    except (ValidationError, WrongNetwork, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise WrongModel(
            f"The model in {directory} does not fit this version of the code ({first}): restore the definition that it "
            "was trained with, or train a new one."
        ) from error
    return LoadedModel(network.eval(), card, found)
