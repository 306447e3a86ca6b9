"""Fine-tuning: the weights that a training starts from, identified by SHA-256, and the layers that are frozen."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from include.artifact.card import read_card
from include.artifact.model import WEIGHTS
from include.codecs import RowStatistics
from include.codecs.row import RowCodec
from include.definition.model_reference import CHAMPION, SUFFIX, VERSION
from include.definition.pipeline import Pipeline
from include.errors import PermanentError
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange
from include.kinds import Config
from include.registry.record import require_recorded
from include.registry.tracking import open_registry
from include.registry.versions import Version, champion, download, version
from include.storage.state import PROJECT_ROOT
from include.targets.regression import Scale
from include.training.incremental import incremental_ranges

if TYPE_CHECKING:
    from torch import nn


log = logging.getLogger(__name__)


class InitialWeights(Config):
    """What a training starts from: `digits/3`, or a file's path, and the SHA-256 of the weights.

    Attributes:
        scale: of the version's targets, if they are the same regression's: its outputs are in that scale.
        statistics: of the version's inputs, where they depend on them: its weights are for these.
    """

    source: str
    sha256: str
    scale: Scale | None = None
    # Left out of the JSON where there are none, so that jobs from before they existed keep theirs.
    statistics: Annotated[RowStatistics | None, Field(exclude_if=lambda found: found is None)] = None


class InitialWeightsChanged(PermanentError):
    """The weights changed after the job was created."""


class WrongInitialWeights(PermanentError):
    """The weights are missing, or belong to another network."""


class WrongFreeze(PermanentError):
    """The patterns of `freeze` match no parameter, or all of them."""


def resolve_initial_weights(connection: KafkaConnection, pipeline: Pipeline) -> InitialWeights | None:
    """The weights that `[training] start_from` names now; None without it, or if no champion exists yet.

    Raises:
        WrongInitialWeights: there is no such file, or the version's statistics are of other columns than the
            pipeline's.
        NoSuchVersion, WrongModel, RegistryUnavailable: see include.registry; one of the pipeline's own versions is not
            what was registered or promoted, see include.registry.record.
    """
    wanted = pipeline.training.start_from
    if wanted is None:
        return None
    found = _named_version(pipeline.name, wanted)
    if found is not None:
        # The entries of another pipeline may be signed by other keys.
        if found.name == pipeline.name:
            require_recorded(connection, found, promoted=wanted.endswith(CHAMPION))
        directory = download(open_registry(), found)
        card = read_card(directory)
        if card.statistics is not None and card.format != pipeline.format:
            raise WrongInitialWeights(
                f"The version that training.start_from names was trained for the format {card.format!r} and the "
                f"pipeline has {pipeline.format!r}: restore the [format] table, or remove training.start_from."
            )
        same = card.manifest.labels == pipeline.training.labels
        return InitialWeights(
            source=f"{found.name}/{found.number}",
            sha256=_sha256(_content(directory / WEIGHTS)),
            scale=card.scale if same else None,
            statistics=card.statistics,
        )
    if wanted.endswith(SUFFIX):
        if isinstance(pipeline.format, RowCodec):
            raise WrongInitialWeights(
                f"The file of weights {wanted} lacks the statistics of rows that they were trained with: name a "
                "version in training.start_from."
            )
        return InitialWeights(source=wanted, sha256=_sha256(_content(PROJECT_ROOT / wanted)))
    log.info("No champion exists to start from yet: the training of %s starts from random weights.", pipeline.name)
    return None


def _named_version(pipeline: str, source: str) -> Version | None:
    """The registered version that a source names; None for a file, or if no champion exists."""
    form = VERSION.fullmatch(source)
    if form is None:
        return None
    name = form["name"] or pipeline
    registry = open_registry()
    return champion(registry, name) if form["number"] == CHAMPION else version(registry, name, int(form["number"]))


def weights_file(initial: InitialWeights) -> Path:
    """The file of the weights on this machine, fetched if they are a version's.

    Raises:
        NoSuchVersion, WrongModel, RegistryUnavailable: see include.registry.
    """
    found = _named_version("", initial.source)
    return PROJECT_ROOT / initial.source if found is None else download(open_registry(), found) / WEIGHTS


def unlearnt_ranges(pipeline: Pipeline, initial: InitialWeights, ranges: Sequence[OffsetRange]) -> list[OffsetRange]:
    """The ranges that are new to the version to start from, and some older ones; see `incremental_ranges`."""
    found = _named_version(pipeline.name, initial.source)
    if found is None:
        raise WrongInitialWeights(
            f"training.start_from = {initial.source!r} is no version, and an incremental training needs its "
            "manifest: name a version."
        )
    learnt = read_card(download(open_registry(), found)).manifest.ranges
    training = pipeline.training
    # Enough for a batch; twice, as transaction markers and refused records are offsets, too.
    least = round(2 * training.batch_size / (1 - training.held_out))
    return incremental_ranges(ranges, learnt, replay_share=training.replay_share, seed=training.seed, least=least)


def load_initial_weights(network: nn.Module, initial: InitialWeights, weights: Path) -> None:
    """Put the weights into the network, in place.

    All tensors must be there with the same names and shapes, except those of the last layer: where their shapes differ,
    because the labels do, it keeps its random ones.

    Raises:
        InitialWeightsChanged: the file changed after the job was created.
        WrongInitialWeights: it is missing, damaged, or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _content(weights)
    if _sha256(content) != initial.sha256:
        raise InitialWeightsChanged(
            f"The weights in {weights} have SHA-256 {_sha256(content)[:12]}… and the training was created for "
            f"{initial.sha256[:12]}…: restore the file, or run the whole DAG again to start from the new one."
        )
    try:
        given = load(content)
    except SafetensorError as error:
        raise WrongInitialWeights(f"The file {weights} has no weights ({error}): name a safetensors file.") from error
    own = network.state_dict()
    if missing := sorted(set(own) ^ set(given)):
        where = "the network" if missing[0] in own else "the weights"
        raise WrongInitialWeights(
            f"The weights of {initial.source} are of another network, only {where} has {missing[0]!r} of "
            f"{len(missing)} tensors that one of them lacks: put the [model] table back, or correct "
            "training.start_from."
        )
    last = next(reversed(own)).rpartition(".")[0]
    differing = [name for name in own if own[name].shape != given[name].shape]
    for name in differing:
        if name.rpartition(".")[0] != last:
            raise WrongInitialWeights(
                f"Tensor {name!r} of {initial.source} has shape {tuple(given[name].shape)} and the network's has "
                f"{tuple(own[name].shape)}, which only its last layer {last!r} may: put [model] and [format] back, or "
                "correct training.start_from."
            )
        given[name] = own[name]
    if differing:
        log.warning("The last layer starts from random weights, because its shape differs: %s.", ", ".join(differing))
    network.load_state_dict(given)


def freeze_layers(network: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters whose names match.

    A layer whose parameters are all frozen, with those of its inner layers, is put into evaluation mode, so that the
    statistics of a normalisation do not change either.

    Args:
        patterns: shell patterns of parameter names: `0.*` for all of layer 0.

    Raises:
        WrongFreeze: a pattern matches nothing, or nothing is left to train.
    """
    parameters = dict(network.named_parameters())
    frozen: set[int] = set()
    for pattern in patterns:
        found = [parameters[name] for name in parameters if fnmatchcase(name, pattern)]
        if not found:
            raise WrongFreeze(
                f"The pattern {pattern!r} of training.freeze matches none of the network's {len(parameters)} "
                f"parameters ({shorten(', '.join(parameters), 300)}): correct it."
            )
        for parameter in found:
            parameter.requires_grad_(False)
            frozen.add(id(parameter))
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        raise WrongFreeze(
            f"The patterns {', '.join(map(repr, patterns))} of training.freeze match all of the network's parameters: "
            "leave some to train."
        )
    for module in network.modules():
        held = list(module.parameters())
        if any(id(parameter) in frozen for parameter in held) and not any(item.requires_grad for item in held):
            module.eval()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongInitialWeights(
            f"The weights {path} can't be read ({error.strerror}): correct training.start_from, or put the file there."
        ) from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
