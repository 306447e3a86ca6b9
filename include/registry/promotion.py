"""Promotion: the challenger becomes champion if it scores better on the same held-out samples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from include.artifact.model import LoadedModel, load_model
from include.definition.model_reference import CHAMPION
from include.errors import PermanentError, Stopped
from include.feed.cached import CachedBatches, held_out_batches
from include.network.evaluation import Evaluation, evaluate
from include.registry.tracking import Registry
from include.registry.versions import Version, champion, download, set_champion, version

if TYPE_CHECKING:
    from include.feed.manifest import Manifest
    from include.kafka.connection import KafkaConnection

log = logging.getLogger(__name__)


class NotComparable(PermanentError):
    """Challenger and champion were trained under different rules, so their scores can't be compared."""


class LabelsMissing(PermanentError):
    """Some labels have no held-out sample, so nothing shows whether a model can tell them."""


@dataclass(frozen=True)
class PromotionDecision:
    """The decision about one challenger.

    Attributes:
        reason: why, as one sentence.
        metric: name of the metric that decides.
        score: the challenger's, on `samples` held-out samples.
        champion_score: the champion's on the same samples; None if they were not compared.
        version: the challenger's number.
        champion_version: the champion's number at that time; None if there was none.
    """

    promoted: bool
    reason: str
    metric: str
    score: float
    champion_score: float | None
    version: int
    champion_version: int | None
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """The values by name, scores under the metric's: `accuracy` and `champion_accuracy` for instance."""
        values = asdict(self)
        metric = values.pop("metric")
        return {key.replace("score", metric): value for key, value in values.items()}


def promote(
    connection: KafkaConnection,
    registry: Registry,
    name: str,
    number: int,
    floor: float,
    *,
    allow_missing: bool = False,
    trusted: Collection[str] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> PromotionDecision:
    """Evaluate version `number` and the champion on the held-out samples of that version's manifest, and decide.

    The challenger wins with a score of at least `floor` that is better than the champion's; equal is not better. The
    score of a classification is its accuracy, see include.targets for the other tasks. A first champion must also be
    better than the best constant answer. The alias is moved last, so a
    repeated attempt finds it either not moved or moved to the right version.

    Args:
        allow_missing: whether labels may have no held-out sample.
        trusted: see `load_model`.
        stopped: polled before the alias is moved.

    Raises:
        LabelsMissing: a label has no held-out sample.
        Stopped: `stopped` returned True; the alias was not moved.
        NotComparable: split rule or labels differ, or the champion's format accepts other samples.
        NoSuchVersion, WrongModel, RegistryUnavailable: see include.registry.
        TopicRecreated, RangeUnavailable, ReaderStalled: see include.kafka.
    """
    challenger = version(registry, name, number)
    holder = champion(registry, name)
    candidate = load_model(download(registry, challenger), challenger.digest, trusted)
    samples = _HeldOutSamples(connection, candidate.card.manifest)
    found = samples.evaluate(candidate)
    if not found.samples:
        raise PermanentError(
            f"No held-out sample of version {number} of {name} could be read from the ranges of manifest "
            f"{candidate.manifest_id}: train a version on samples that are still there."
        )
    if holder is not None and holder.number == number:
        return _decision(challenger, found, None, None, promoted=True, reason=f"Version {number} is champion already.")
    reached = f"Version {number} reaches {found.metric} {found.score:.4f} on {found.samples} held-out samples"
    if not allow_missing:
        _check_labels(candidate, samples.counts(candidate), challenger)
    if found.score < floor:
        reason = f"{reached}, below the floor of {floor:g}: train longer or on more samples, or lower promotion.floor."
        return _decision(challenger, found, holder, None, promoted=False, reason=reason)
    if holder is None:
        constant = candidate.target.constant_score(samples.counts(candidate), found.samples)
        if found.score <= constant:
            reason = (
                f"{reached}, no more than the {constant:.4f} of the best constant answer: train longer or on more "
                "samples."
            )
            return _decision(challenger, found, None, None, promoted=False, reason=reason)
        _crown(registry, challenger, stopped)
        return _decision(challenger, found, None, None, promoted=True, reason=f"{reached} and is the first champion.")
    rival = load_model(download(registry, holder), holder.digest, trusted)
    _check_comparable(candidate, rival, challenger, holder)
    other = samples.evaluate(rival)
    if other.samples != found.samples:
        raise NotComparable(
            f"Of the {found.samples} held-out samples of version {number} of {name} the format of champion "
            f"{holder.number} accepts {other.samples}: {_remedy(name)}."
        )
    better = found.score > other.score
    if better:
        _crown(registry, challenger, stopped)
    reason = (
        f"{reached}, {'more' if better else 'no more'} than champion {holder.number} with {other.score:.4f} on the "
        "same ones."
    )
    return _decision(challenger, found, holder, other, promoted=better, reason=reason)


def _crown(registry: Registry, challenger: Version, stopped: Callable[[], bool]) -> None:
    if stopped():
        raise Stopped(
            f"Stopped before version {challenger.number} of {challenger.name} was made champion: the next attempt "
            "compares them again."
        )
    set_champion(registry, challenger)


class _HeldOutSamples:
    """The held-out samples of a manifest, read once for all models of the same format."""

    def __init__(self, connection: KafkaConnection, manifest: Manifest) -> None:
        self._connection = connection
        self._manifest = manifest
        self._batches: dict[str, CachedBatches] = {}

    def evaluate(self, model: LoadedModel) -> Evaluation:
        return evaluate(model.network, self._read_by(model), model.target)

    def counts(self, model: LoadedModel) -> list[int]:
        """How many of the samples that were evaluated have each of the model's labels."""
        found = self._read_by(model).report.samples
        return [found[label] for label in model.target.labels]

    def _read_by(self, model: LoadedModel) -> CachedBatches:
        return self._batches.setdefault(
            model.codec.model_dump_json(), held_out_batches(self._connection, self._manifest, model.codec)
        )


def _check_labels(candidate: LoadedModel, counts: Sequence[int], challenger: Version) -> None:
    missing = [label for label, count in zip(candidate.target.labels, counts, strict=True) if not count]
    if missing:
        raise LabelsMissing(
            f"No held-out sample of version {challenger.number} of {challenger.name} has the label "
            f"{shorten(', '.join(map(repr, missing)), 200)}, so nothing shows that the model can tell it: ingest "
            "samples of it and train again, take it out of training.labels, or set allow_missing = true in "
            "[promotion]."
        )


def _check_comparable(candidate: LoadedModel, rival: LoadedModel, challenger: Version, holder: Version) -> None:
    ours, theirs = candidate.card.manifest, rival.card.manifest
    for what, own, other in (
        ("split rule", ours.split, theirs.split),
        ("task", ours.task, theirs.task),
        ("label set", list(ours.labels), list(theirs.labels)),
        ("schema", ours.schema, theirs.schema),
    ):
        if own != other:
            raise NotComparable(
                f"Version {challenger.number} of {challenger.name} has the {what} {own} and champion {holder.number} "
                f"{other}, so they can't be compared on the same samples: {_remedy(challenger.name)}."
            )


def _remedy(name: str) -> str:
    return (
        f"restore the pipeline's [training] and [format], or remove the alias {CHAMPION} of model {name} in MLflow to "
        "begin again"
    )


def _decision(
    challenger: Version,
    found: Evaluation,
    holder: Version | None,
    other: Evaluation | None,
    *,
    promoted: bool,
    reason: str,
) -> PromotionDecision:
    log.info("%s: %s", challenger.name, reason)
    return PromotionDecision(
        promoted=promoted,
        reason=reason,
        metric=found.metric,
        score=found.score,
        champion_score=None if other is None else other.score,
        version=challenger.number,
        champion_version=None if holder is None else holder.number,
        samples=found.samples,
    )
