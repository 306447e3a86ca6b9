"""Fine-tuning: the weights that a training starts from, identified by SHA-256, and the layers that are frozen."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from include.artifact.card import read_card
from include.artifact.model import WEIGHTS
from include.definition.model_reference import CHAMPION, SUFFIX, VERSION
from include.errors import PermanentError
from include.kinds import Config
from include.registry.tracking import open_registry
from include.registry.versions import Version, champion, download, version
from include.storage.state import PROJECT_ROOT
from include.targets.regression import Scale
from include.training.incremental import incremental_ranges

if TYPE_CHECKING:
    from torch import nn

    from include.definition.pipeline import Pipeline
    from include.kafka.ranges import OffsetRange

log = logging.getLogger(__name__)


class Start(Config):
    """What a training starts from: `digits/3`, or a file's path, and the SHA-256 of the weights.

    Attributes:
        scale: of the version's targets, if they are the same regression's: its outputs are in that scale.
    """

    source: str
    sha256: str
    scale: Scale | None = None


class StartChanged(PermanentError):
    """The weights changed after the job was created."""


class WrongStart(PermanentError):
    """The weights are missing, or belong to another network."""


class WrongFreeze(PermanentError):
    """The patterns of `freeze` match no parameter, or all of them."""


def resolve_start(pipeline: Pipeline) -> Start | None:
    """The weights that `[training] start_from` names now; None without it, or if no champion exists yet.

    Raises:
        WrongStart: there is no such file.
        NoSuchVersion, WrongModel, RegistryUnavailable: see include.registry.
    """
    wanted = pipeline.training.start_from
    if wanted is None:
        return None
    found = start_version(pipeline.name, wanted)
    if found is not None:
        directory = download(open_registry(), found)
        card = read_card(directory)
        same = card.manifest.labels == pipeline.training.labels
        return Start(
            source=f"{found.name}/{found.number}",
            sha256=_sha256(_content(directory / WEIGHTS)),
            scale=card.scale if same else None,
        )
    if wanted.endswith(SUFFIX):
        return Start(source=wanted, sha256=_sha256(_content(_local(wanted))))
    log.info("No champion exists to start from yet: the training of %s starts from initial weights.", pipeline.name)
    return None


def start_version(pipeline: str, wanted: str) -> Version | None:
    """The registered version that a start names; None for a file, or if no champion exists."""
    form = VERSION.fullmatch(wanted)
    if form is None:
        return None
    name = form["name"] or pipeline
    registry = open_registry()
    return champion(registry, name) if form["number"] == CHAMPION else version(registry, name, int(form["number"]))


def start_weights(start: Start) -> Path:
    """The file of the weights on this machine, fetched if they are a version's.

    Raises:
        NoSuchVersion, WrongModel, RegistryUnavailable: see include.registry.
    """
    found = start_version("", start.source)
    return _local(start.source) if found is None else download(open_registry(), found) / WEIGHTS


def start_ranges(pipeline: Pipeline, start: Start, ranges: Sequence[OffsetRange]) -> list[OffsetRange]:
    """The ranges that are new to the version to start from, and some older ones; see `incremental_ranges`."""
    found = start_version(pipeline.name, start.source)
    if found is None:
        raise WrongStart(
            f"training.start_from = {start.source!r} is no version, and an incremental training needs its "
            "manifest: name a version."
        )
    learnt = read_card(download(open_registry(), found)).manifest.ranges
    training = pipeline.training
    return incremental_ranges(ranges, learnt, replay_share=training.replay_share, seed=training.seed)


def load_start(network: nn.Module, start: Start, weights: Path) -> None:
    """Put the weights into the network, in place.

    All tensors must be there with the same names and shapes, except those of the last layer: where their shapes differ,
    because the labels do, it keeps its initial weights.

    Raises:
        StartChanged: the file changed after the job was created.
        WrongStart: it is missing, damaged, or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _content(weights)
    if _sha256(content) != start.sha256:
        raise StartChanged(
            f"The weights in {weights} have SHA-256 {_sha256(content)[:12]}… and the training was created for "
            f"{start.sha256[:12]}…: restore the file, or run the whole DAG again to start from the new one."
        )
    try:
        given = load(content)
    except SafetensorError as error:
        raise WrongStart(f"The file {weights} has no weights ({error}): name a safetensors file.") from error
    own = network.state_dict()
    if missing := sorted(set(own) ^ set(given)):
        where = "the network" if missing[0] in own else "the weights"
        raise WrongStart(
            f"The weights of {start.source} are of another network, only {where} has {missing[0]!r} of {len(missing)} "
            "tensors that one of them lacks: put the [model] table back, or correct training.start_from."
        )
    last = next(reversed(own)).rpartition(".")[0]
    differing = [name for name in own if own[name].shape != given[name].shape]
    for name in differing:
        if name.rpartition(".")[0] != last:
            raise WrongStart(
                f"Tensor {name!r} of {start.source} has shape {tuple(given[name].shape)} and the network's has "
                f"{tuple(own[name].shape)}, which only its last layer {last!r} may: put [model] and [format] back, or "
                "correct training.start_from."
            )
        given[name] = own[name]
    if differing:
        log.warning("The last layer starts from initial weights, because its shape differs: %s.", ", ".join(differing))
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
                f"The pattern {pattern!r} of training.freeze matches none of the network's parameters, which are "
                f"{_some(list(parameters))}: correct it."
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


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _local(path: str) -> Path:
    return PROJECT_ROOT / path


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongStart(
            f"The weights {path} can't be read ({error.strerror}): correct training.start_from, or put the file there."
        ) from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
