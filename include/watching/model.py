"""The model that is watched: its version, and what its card says of its inputs and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.artifact.card import read_card
from include.errors import NothingToDo
from include.prediction.json_record import ModelIdentity
from include.registry.record import require_recorded
from include.registry.tracking import open_registry
from include.registry.versions import champion, download

if TYPE_CHECKING:
    from include.codecs.base import Codec
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.network.reference import Reference
    from include.targets.base import Target


@dataclass(frozen=True)
class WatchedModel:
    """A version that serves.

    Attributes:
        codec: how requests become its inputs.
        reference: None where the version is from before models had one.
    """

    identity: ModelIdentity
    codec: Codec
    target: Target
    reference: Reference | None


def watched_champion(connection: KafkaConnection, pipeline: Pipeline) -> WatchedModel:
    """The champion; its weights are not loaded.

    Raises:
        NothingToDo: nothing has been promoted.
        WrongModel: the version is not what was registered, or was never promoted.
        RegistryUnavailable: see include.registry.
    """
    registry = open_registry()
    found = champion(registry, pipeline.name)
    if found is None:
        raise NothingToDo(f"The model of {pipeline.name} has no champion yet: there is nothing to watch.")
    require_recorded(connection, found, promoted=True)
    card = read_card(download(registry, found))
    identity = ModelIdentity(found.name, found.number, found.digest, found.manifest_id)
    return WatchedModel(identity, card.codec, card.target, card.reference)
