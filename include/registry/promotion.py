"""Promotion: the challenger becomes champion if the rules find it better on the same held-out samples."""

import logging
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from textwrap import shorten
from typing import Any

from include.artifact.model import LoadedModel, load_model
from include.definition.model_reference import CHAMPION
from include.definition.tables import Promotion
from include.errors import MillraceError, PermanentError, Stopped
from include.feed.cached import CachedBatches, held_out_batches
from include.feed.manifest import Manifest
from include.kafka.connection import KafkaConnection
from include.network.bootstrap import lead_interval
from include.network.evaluation import Evaluation, evaluate
from include.registry.record import record_promotion, require_recorded
from include.registry.tracking import Registry
from include.registry.versions import Version, champion, download, set_champion, version

log = logging.getLogger(__name__)


class NotComparable(PermanentError):
    """Challenger and champion were trained under different rules, so their scores can't be compared."""


class LabelsMissing(PermanentError):
    """Some labels have no held-out sample, so nothing shows whether a model recognises them."""


class ChampionMoved(MillraceError):
    """Another version became champion during the comparison; the next attempt compares with that one."""


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


@dataclass(frozen=True, eq=False)
class Comparison:
    """A challenger and the champion on the same held-out samples, and what the rules say.

    Attributes:
        decision: `promoted` says whether the rules let the challenger be champion.
        challenger: the version.
        labels: the names of the classes.
        found: the challenger's evaluation.
        other: the champion's; None if they were not compared.
        champion: whether the challenger is champion already.
    """

    decision: PromotionDecision
    challenger: Version
    labels: tuple[str, ...]
    found: Evaluation
    other: Evaluation | None = None
    champion: bool = False


def promote(
    connection: KafkaConnection,
    registry: Registry,
    name: str,
    number: int,
    rules: Promotion,
    *,
    trusted: Collection[str] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> PromotionDecision:
    """Compare version `number` with the champion, and make it champion if the rules let it.

    The alias is moved last, so a repeated attempt finds it either not moved or moved to the right version.

    Args:
        trusted: see `load_model`.
        stopped: polled before the alias is moved.

    Raises:
        Stopped: `stopped` returned True; the alias was not moved.
        ChampionMoved: a person has rolled the champion back meanwhile, for example; the alias was not moved.
        LabelsMissing, NotComparable and others: see `compare`.
    """
    compared = compare(connection, registry, name, number, rules, trusted=trusted)
    if compared.decision.promoted and not compared.champion:
        before, holder = compared.decision.champion_version, champion(registry, name)
        now = None if holder is None else holder.number
        if now != before:
            raise ChampionMoved(
                f"Version {number} of {name} was compared with {in_words(before)}, and it is {in_words(now)} now: the "
                "next attempt compares it with that one."
            )
        crown(connection, registry, compared.challenger, stopped)
    return compared.decision


def compare(
    connection: KafkaConnection,
    registry: Registry,
    name: str,
    number: int,
    rules: Promotion,
    *,
    trusted: Collection[str] = (),
) -> Comparison:
    """Evaluate version `number` and the champion on the held-out samples of that version's manifest, and decide.

    The challenger wins with a score of at least `rules.floor` that is better than the champion's by more than
    `rules.margin`; with `rules.confidence` the lower end of the interval of its lead has to be. The score of a
    classification is its accuracy, see include.targets for the other tasks. A first champion must also be better than
    the best constant answer.

    Args:
        trusted: see `load_model`.

    Raises:
        LabelsMissing: a label has no held-out sample.
        NotComparable: split rule or labels differ, or the champion's format accepts other samples.
        NoSuchVersion, WrongModel, RegistryUnavailable: see include.registry; one of the versions is not what was
            registered or promoted, see include.registry.record.
        TopicRecreated, RangeUnavailable, ReaderStalled: see include.kafka.
    """
    registered = version(registry, name, number)
    require_recorded(connection, registered, promoted=False)
    holder = champion(registry, name)
    if holder is not None:
        require_recorded(connection, holder, promoted=True)
    model = load_model(download(registry, registered), registered.digest, trusted)
    samples = _HeldOutSamples(connection, model.card.manifest, by_sample=rules.confidence is not None)
    challenger = samples.evaluate(registered, model)
    if not challenger.found.samples:
        raise PermanentError(
            f"No held-out sample of version {number} of {name} could be read from the ranges of manifest "
            f"{model.card.manifest_id}: train a version on samples that are still there."
        )
    if holder is not None and holder.number == number:
        verdict = _Verdict(True, f"Version {number} is champion already.")
        return replace(_comparison(challenger, None, verdict), champion=True)
    if not rules.allow_missing:
        _check_labels(challenger)
    if challenger.found.score < rules.floor:
        advice = "train longer or on more samples, or lower promotion.floor"
        verdict = _Verdict(False, f"{challenger.result}, below the floor of {rules.floor:g}: {advice}.")
    elif (lacking := _below_class_floor(challenger, rules)) is not None:
        advice = "train on more samples of it, or lower its floor in [promotion]"
        verdict = _Verdict(False, f"{challenger.result}, but {lacking}: {advice}.")
    elif holder is None:
        verdict = _against_constant(challenger)
    else:
        rival = load_model(download(registry, holder), holder.digest, trusted)
        _check_comparable(challenger, holder, rival)
        verdict = _against_champion(challenger, samples.evaluate(holder, rival), rules)
    return _comparison(challenger, holder, verdict)


@dataclass(frozen=True)
class _Contender:
    """A version and what it reaches on the held-out samples.

    Attributes:
        counts: how many of the samples that were evaluated have each of the model's labels.
        groups: the number of the group of each of these samples; empty unless it was asked for.
    """

    version: Version
    model: LoadedModel
    found: Evaluation
    counts: list[int]
    groups: list[int]

    @property
    def result(self) -> str:
        reached = f"{self.found.metric} {self.found.score:.4f} on {self.found.samples} held-out samples"
        return f"Version {self.version.number} reaches {reached}"


@dataclass(frozen=True)
class _Verdict:
    """Whether the challenger may be champion, why, and the champion's evaluation where they were compared."""

    promoted: bool
    reason: str
    other: Evaluation | None = None


def _below_class_floor(challenger: _Contender, rules: Promotion) -> str | None:
    """What is said of the class that lacks most for its floor; None if none does."""
    confusion = challenger.found.confusion
    if confusion is None:
        return None
    lacking: list[tuple[float, str]] = []
    for place, label in enumerate(challenger.model.card.target.labels):
        floor, count = rules.class_floors.get(label, rules.class_floor), int(confusion[place].sum())
        if floor is not None and count and (share := int(confusion[place, place]) / count) < floor:
            text = f"it recognises {share:.4f} of the {count} of class {label!r:.100}, below the floor of {floor:g}"
            lacking.append((share - floor, text))
    return min(lacking)[1] if lacking else None


def _against_constant(challenger: _Contender) -> _Verdict:
    """Judge a first challenger, which has no champion to beat."""
    found = challenger.found
    constant = challenger.model.card.target.constant_score(challenger.counts, found.samples)
    if found.score > constant:
        return _Verdict(True, f"{challenger.result} and is the first champion.")
    return _Verdict(
        False,
        f"{challenger.result}, no more than the {constant:.4f} of the best constant answer: train longer or on more "
        "samples.",
    )


def _against_champion(challenger: _Contender, holder: _Contender, rules: Promotion) -> _Verdict:
    number, name = challenger.version.number, challenger.version.name
    found, other = challenger.found, holder.found
    if other.samples != found.samples:
        raise NotComparable(
            f"Of the {found.samples} held-out samples of version {number} of {name} the format of champion "
            f"{holder.version.number} accepts {other.samples}: {_remedy(name)}."
        )
    by = f" by more than {rules.margin:g}" if rules.margin else ""
    if found.addends is None or other.addends is None or rules.confidence is None:
        better = found.score - other.score > rules.margin
        lead = f"{'more' if better else 'no more'}{by}"
    else:
        card, groups = challenger.model.card, challenger.groups
        low, high = lead_interval(
            card.target, found.addends, other.addends, groups, rules.confidence, card.manifest.seed
        )
        better = low > rules.margin
        surely = "surely" if better else "not surely"
        among = "" if len(set(groups)) == len(groups) else f", by {len(set(groups))} groups"
        lead = f"{surely} more{by} (by {low:.4f} to {high:.4f} with {rules.confidence:.1%} confidence{among})"
    reason = (
        f"{challenger.result}, {lead} than champion {holder.version.number} with {other.score:.4f} on the same ones."
    )
    return _Verdict(better, reason, other)


def in_words(number: int | None) -> str:
    """The champion with this number, in words."""
    return "no champion" if number is None else f"champion {number}"


def crown(connection: KafkaConnection, registry: Registry, challenger: Version, stopped: Callable[[], bool]) -> None:
    """Record the promotion and move the alias.

    Raises:
        Stopped: `stopped` returned True; the alias was not moved.
    """
    if stopped():
        raise Stopped(
            f"Stopped before version {challenger.number} of {challenger.name} was made champion: the next attempt "
            "compares them again."
        )
    record_promotion(connection, challenger)
    set_champion(registry, challenger)


class _HeldOutSamples:
    """The held-out samples of a manifest, read once for all models with the same inputs."""

    def __init__(self, connection: KafkaConnection, manifest: Manifest, *, by_sample: bool) -> None:
        self._connection = connection
        self._manifest = manifest
        self._by_sample = by_sample
        self._batches: dict[str, CachedBatches] = {}

    def evaluate(self, version: Version, model: LoadedModel) -> _Contender:
        samples, groups = self._read_by(model), list[int]()
        card = model.card
        found = evaluate(
            model.network,
            samples,
            card.target,
            codec=card.codec,
            by_sample=self._by_sample,
            observe=lambda *_: groups.extend(samples.groups),
        )
        read = samples.report.samples
        return _Contender(version, model, found, [read[label] for label in card.target.labels], groups)

    def _read_by(self, model: LoadedModel) -> CachedBatches:
        card = model.card
        inputs = card.model_dump_json(include={"format", "statistics"})
        return self._batches.setdefault(
            inputs, held_out_batches(self._connection, self._manifest, card.codec, addressed=self._by_sample)
        )


def _check_labels(challenger: _Contender) -> None:
    labels = challenger.model.card.target.labels
    missing = [label for label, count in zip(labels, challenger.counts, strict=True) if not count]
    if missing:
        raise LabelsMissing(
            f"No held-out sample of version {challenger.version.number} of {challenger.version.name} has the label "
            f"{shorten(', '.join(map(repr, missing)), 200)}, so nothing shows that the model recognises it: ingest "
            "samples of it and train again, take it out of training.labels, or set allow_missing = true in "
            "[promotion]."
        )


def _check_comparable(challenger: _Contender, holder: Version, rival: LoadedModel) -> None:
    number, name = challenger.version.number, challenger.version.name
    ours, theirs = challenger.model.card.manifest, rival.card.manifest
    for what, own, other in (
        ("split rule", ours.split, theirs.split),
        ("task", ours.task, theirs.task),
        ("label set", list(ours.labels), list(theirs.labels)),
        ("schema", ours.schema, theirs.schema),
    ):
        if own != other:
            raise NotComparable(
                f"Version {number} of {name} has the {what} {own} and champion {holder.number} {other}, so they can't "
                f"be compared on the same samples: {_remedy(name)}."
            )


def _remedy(name: str) -> str:
    return (
        f"restore the pipeline's [training] and [format], or remove the alias {CHAMPION} of model {name} in MLflow to "
        "begin again"
    )


def _comparison(challenger: _Contender, holder: Version | None, verdict: _Verdict) -> Comparison:
    log.info("%s: %s", challenger.version.name, verdict.reason)
    found, other = challenger.found, verdict.other
    decision = PromotionDecision(
        promoted=verdict.promoted,
        reason=verdict.reason,
        metric=found.metric,
        score=found.score,
        champion_score=None if other is None else other.score,
        version=challenger.version.number,
        champion_version=None if holder is None else holder.number,
        samples=found.samples,
    )
    return Comparison(decision, challenger.version, challenger.model.card.target.labels, found, other)
