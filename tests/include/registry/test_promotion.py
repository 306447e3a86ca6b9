"""Promotion: only a challenger that knows the same held-out samples better takes the alias."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.artifact.result import TrainingResult
from include.definition.tables import Promotion
from include.errors import PermanentError, Stopped
from include.feed.split import Split
from include.registry import promotion
from include.registry.promotion import (
    ChampionMoved,
    Comparison,
    LabelsMissing,
    NotComparable,
    PromotionDecision,
    compare,
    promote,
)
from include.registry.runs import open_run
from include.registry.tracking import Registry
from include.registry.versions import Version, champion, register_version, set_champion
from include.storage.removal import remove_folder
from include.training.loop import train
from include.training.result import store_result
from tests.support.assertions import assert_readable

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob

Register = Callable[[TrainingResult, str], Version]


def test_the_first_version_above_the_floor_is_promoted(
    kafka: KafkaConnection, registry: Registry, register: Register, good: TrainingResult
) -> None:
    made = register(good, "run")
    decision = promote(kafka, registry, made.name, made.number, Promotion(floor=0.1))
    assert decision.promoted
    assert decision.score == good.score
    assert decision.samples == good.outcome.metrics.samples
    assert (decision.champion_version, decision.champion_score) == (None, None)
    assert champion(registry, made.name) == made
    json.dumps(decision.to_dict())


def test_below_the_floor_nobody_is_promoted(
    kafka: KafkaConnection, registry: Registry, register: Register, good: TrainingResult
) -> None:
    made = register(good, "run")
    decision = promote(kafka, registry, made.name, made.number, Promotion(floor=1.0))
    assert not decision.promoted
    assert "floor of 1" in decision.reason
    assert champion(registry, made.name) is None


def test_a_label_without_a_held_out_sample_stops_a_promotion(
    kafka: KafkaConnection, registry: Registry, job: TrainingJob, tmp_path: Path
) -> None:
    """An accuracy of 1 on two classes of ten is no accuracy of ten."""
    labels = (*job.manifest.labels, "ten", "eleven")
    made = registered_with(kafka, registry, job, tmp_path / "changed", labels=labels)

    with pytest.raises(LabelsMissing) as refused:
        promote(kafka, registry, made.name, made.number, Promotion(floor=0))
    assert_readable(refused.value, "'ten', 'eleven'", f"version {made.number}", "allow_missing")
    assert champion(registry, made.name) is None

    decision = promote(kafka, registry, made.name, made.number, Promotion(floor=0, allow_missing=True))
    assert "constant answer" in decision.reason or decision.promoted


def test_a_first_model_that_a_constant_answer_equals_is_not_promoted(
    kafka: KafkaConnection, registry: Registry, register: Register, bad: TrainingResult
) -> None:
    made = register(bad, "bad")
    decision = promote(kafka, registry, made.name, made.number, Promotion(floor=0))
    assert not decision.promoted
    assert "best constant answer" in decision.reason
    assert champion(registry, made.name) is None


def test_an_accuracy_equal_to_the_floor_is_enough(
    kafka: KafkaConnection, registry: Registry, register: Register, good: TrainingResult
) -> None:
    made = register(good, "run")
    assert promote(kafka, registry, made.name, made.number, Promotion(floor=good.score)).promoted


def test_a_better_challenger_takes_the_alias(
    kafka: KafkaConnection, registry: Registry, register: Register, good: TrainingResult, bad: TrainingResult
) -> None:
    holder, challenger = register(bad, "bad"), register(good, "good")
    set_champion(registry, holder)
    decision = promote(kafka, registry, challenger.name, challenger.number, Promotion(floor=0))
    assert decision.promoted
    assert (decision.version, decision.champion_version) == (2, 1)
    assert (decision.score, decision.champion_score) == (good.score, bad.score)
    assert champion(registry, holder.name) == challenger


def test_a_lead_has_to_be_more_than_the_margin_with_a_confidence_surely(
    kafka: KafkaConnection, registry: Registry, register: Register, good: TrainingResult, bad: TrainingResult
) -> None:
    holder, challenger = register(bad, "bad"), register(good, "good")
    set_champion(registry, holder)
    lead = good.score - bad.score

    def decide(**rules: float) -> PromotionDecision:
        return compare(kafka, registry, challenger.name, challenger.number, Promotion(floor=0, **rules)).decision

    equal = decide(margin=lead)
    assert not equal.promoted
    assert f"no more by more than {lead:g} than champion 1" in equal.reason
    assert decide(margin=lead - 0.01).promoted
    unsure = decide(margin=lead - 0.01, confidence=0.99)
    assert not unsure.promoted
    assert "not surely more by more than" in unsure.reason
    assert decide(margin=lead - 0.01, confidence=0.99) == unsure
    assert decide(margin=0.1, confidence=0.99).promoted


def test_a_class_that_is_recognised_too_rarely_stops_a_promotion(
    kafka: KafkaConnection, registry: Registry, register: Register, good: TrainingResult
) -> None:
    made = register(good, "run")
    assert good.outcome.confusion is not None
    rows = zip(good.outcome.labels, good.outcome.confusion, strict=True)
    shares = {label: row[place] / sum(row) for place, (label, row) in enumerate(rows)}
    rarest = min(shares, key=lambda label: shares[label])
    assert shares[rarest] < 1

    def decide(**rules: object) -> PromotionDecision:
        return compare(kafka, registry, made.name, made.number, Promotion(floor=0, **rules)).decision

    for floors in ({"class_floor": 1.0}, {"class_floor": 0.0, "class_floors": {rarest: 1.0}}):
        decision = decide(**floors)
        assert not decision.promoted
        assert f"it recognises {shares[rarest]:.4f} of the" in decision.reason
        assert f"of class {rarest!r}, below the floor of 1" in decision.reason
    assert decide(class_floor=shares[rarest]).promoted


def test_a_worse_challenger_leaves_the_champion(
    kafka: KafkaConnection, registry: Registry, register: Register, good: TrainingResult, bad: TrainingResult
) -> None:
    holder, challenger = register(good, "good"), register(bad, "bad")
    set_champion(registry, holder)
    decision = promote(kafka, registry, challenger.name, challenger.number, Promotion(floor=0))
    assert not decision.promoted
    assert champion(registry, holder.name) == holder


def test_a_tie_keeps_the_champion(
    kafka: KafkaConnection, registry: Registry, register: Register, good: TrainingResult
) -> None:
    holder, challenger = register(good, "one"), register(good, "two")
    set_champion(registry, holder)
    decision = promote(kafka, registry, challenger.name, challenger.number, Promotion(floor=0))
    assert not decision.promoted
    assert decision.score == decision.champion_score
    assert champion(registry, holder.name) == holder


def test_a_promotion_that_is_repeated_says_the_same_and_moves_nothing(
    kafka: KafkaConnection,
    registry: Registry,
    register: Register,
    good: TrainingResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = register(good, "run")
    promote(kafka, registry, made.name, made.number, Promotion(floor=0.1))
    monkeypatch.setattr(registry.client, "set_registered_model_alias", None)
    again = promote(kafka, registry, made.name, made.number, Promotion(floor=0.1))
    assert again.promoted
    assert again.score == good.score


def test_a_stopped_promotion_leaves_the_alias_where_it_was(
    kafka: KafkaConnection, registry: Registry, register: Register, good: TrainingResult, bad: TrainingResult
) -> None:
    first, second = register(bad, "bad"), register(good, "good")
    for holder in (None, first):
        with pytest.raises(Stopped) as stopped:
            promote(kafka, registry, second.name, second.number, Promotion(floor=0), stopped=lambda: True)
        assert_readable(stopped.value, f"version {second.number}")
        assert champion(registry, second.name) == holder
        set_champion(registry, first)


def test_a_champion_that_a_person_sets_back_meanwhile_is_compared_by_the_next_attempt(
    kafka: KafkaConnection,
    registry: Registry,
    register: Register,
    good: TrainingResult,
    bad: TrainingResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    earlier, holder, challenger = register(bad, "earlier"), register(bad, "holder"), register(good, "challenger")
    set_champion(registry, holder)

    def compare_slowly(*arguments: object, **named: object) -> Comparison:
        found = compare(*arguments, **named)  # type: ignore[arg-type]
        set_champion(registry, earlier)
        return found

    with monkeypatch.context() as slow:
        slow.setattr(promotion, "compare", compare_slowly)
        with pytest.raises(ChampionMoved) as moved:
            promote(kafka, registry, challenger.name, challenger.number, Promotion(floor=0))

    assert_readable(moved.value, "Version 3", "champion 2", "champion 1")
    assert not isinstance(moved.value, PermanentError)
    assert champion(registry, holder.name) == earlier
    assert promote(kafka, registry, challenger.name, challenger.number, Promotion(floor=0)).champion_version == 1


def registered_with(
    kafka: KafkaConnection, registry: Registry, job: TrainingJob, folder: Path, **manifest: object
) -> Version:
    """A version that was trained under a changed manifest."""
    changed = job.model_copy(update={"manifest": replace(job.manifest, **manifest), "epochs": 1})
    result = store_result(folder, changed, "changed", train(changed, kafka, folder))
    return register_version(open_run(registry, changed.run_identity("changed")), result)


@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("split rule", {"split": Split("another salt", 0.2)}),
        ("split rule", {"split": Split("millrace", 0.3)}),
        ("label set", {"labels": tuple("9876543210")}),
    ],
)
def test_models_of_different_rules_are_not_compared(
    kafka: KafkaConnection,
    registry: Registry,
    register: Register,
    job: TrainingJob,
    good: TrainingResult,
    tmp_path: Path,
    what: str,
    changed: dict[str, object],
) -> None:
    holder = register(good, "run")
    set_champion(registry, holder)
    challenger = registered_with(kafka, registry, job, tmp_path / "changed", **changed)
    with pytest.raises(NotComparable) as refused:
        promote(kafka, registry, challenger.name, challenger.number, Promotion(floor=0))
    assert_readable(refused.value, what, f"Version {challenger.number}", "alias champion")
    assert champion(registry, holder.name) == holder


def test_a_champion_that_was_changed_is_not_beaten_by_default(
    kafka: KafkaConnection,
    registry: Registry,
    register: Register,
    good: TrainingResult,
    bad: TrainingResult,
    state: Path,
) -> None:
    holder = register(bad, "bad")
    set_champion(registry, holder)
    artifacts = state / "mlflow" / "artifacts"
    remove_folder(artifacts, next(artifacts.glob(f"*{holder.run_id}*")) / "artifacts" / "model")
    challenger = register(good, "good")
    with pytest.raises(Exception, match=f"version {holder.number} of {holder.name}"):
        promote(kafka, registry, challenger.name, challenger.number, Promotion(floor=0))
    assert champion(registry, holder.name) == holder
