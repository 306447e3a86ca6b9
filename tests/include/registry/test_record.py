"""A model is what was promoted: MLflow's word alone makes no version, changes none and makes none champion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.artifact.card import WrongModel
from include.artifact.model import model_digest
from include.definition.tables import Promotion
from include.kafka.errors import LedgerDamaged
from include.kafka.signing import SigningKeys
from include.registry.promotion import promote
from include.registry.record import record_promotion, record_version, require_recorded
from include.registry.tracking import Registry
from include.registry.versions import Version, champion, set_champion, version
from tests.support.assertions import assert_readable

if TYPE_CHECKING:
    from include.artifact.result import TrainingResult
    from include.kafka.connection import KafkaConnection

Register = Callable[["TrainingResult", str], Version]


def test_a_trained_version_may_be_loaded_and_becomes_champion_by_promotion(
    kafka: KafkaConnection, registry: Registry, trained: Register, good: TrainingResult
) -> None:
    made = trained(good, "run")
    require_recorded(kafka, made, promoted=False)
    assert promote(kafka, registry, made.name, made.number, Promotion(floor=0.1)).promoted
    require_recorded(kafka, made, promoted=True)


def test_a_version_whose_files_and_tag_were_changed_together_is_refused(
    kafka: KafkaConnection, registry: Registry, trained: Register, good: TrainingResult, state: Path
) -> None:
    made = trained(good, "run")
    record_promotion(kafka, made)
    set_champion(registry, made)
    weights = next((state / "mlflow" / "artifacts").rglob("weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    registry.client.set_model_version_tag(made.name, str(made.number), "digest", model_digest(weights.parent))

    holder = champion(registry, made.name)
    assert holder is not None
    with pytest.raises(WrongModel) as refused:
        require_recorded(kafka, holder, promoted=True)
    assert_readable(refused.value, holder.digest[:12], made.digest[:12])
    with pytest.raises(WrongModel):
        promote(kafka, registry, made.name, made.number, Promotion(floor=0.1))


def test_a_champion_that_promotion_refused_is_refused(
    kafka: KafkaConnection, registry: Registry, trained: Register, good: TrainingResult
) -> None:
    made = trained(good, "run")
    assert not promote(kafka, registry, made.name, made.number, Promotion(floor=1.0)).promoted
    set_champion(registry, made)

    with pytest.raises(WrongModel) as refused:
        require_recorded(kafka, made, promoted=True)
    assert_readable(refused.value, "version 1", "never promoted")
    require_recorded(kafka, made, promoted=False)


def test_the_alias_may_go_back_to_a_version_that_was_promoted(
    kafka: KafkaConnection, registry: Registry, trained: Register, good: TrainingResult, bad: TrainingResult
) -> None:
    first, second = trained(bad, "bad"), trained(good, "good")
    for each in (first, second):
        record_promotion(kafka, each)
    set_champion(registry, first)
    require_recorded(kafka, first, promoted=True)


def test_a_version_that_no_training_registered_is_refused(
    kafka: KafkaConnection, registry: Registry, trained: Register, register: Register, good: TrainingResult
) -> None:
    trained(good, "run")
    other = register(good, "another program's")
    with pytest.raises(WrongModel) as refused:
        require_recorded(kafka, version(registry, other.name, 2), promoted=False)
    assert_readable(refused.value, "version 2", "another program created it")


def test_versions_from_before_are_used_and_recorded_by_the_next_training(
    kafka: KafkaConnection,
    registry: Registry,
    trained: Register,
    register: Register,
    good: TrainingResult,
    bad: TrainingResult,
    caplog: pytest.LogCaptureFixture,
) -> None:
    holder, other = register(good, "one"), register(bad, "two")
    set_champion(registry, holder)
    require_recorded(kafka, holder, promoted=True)
    assert "the next training records all of them" in caplog.text

    trained(good, "three")

    require_recorded(kafka, holder, promoted=True)
    require_recorded(kafka, other, promoted=False)
    with pytest.raises(WrongModel):
        require_recorded(kafka, other, promoted=True)


def test_a_repeated_attempt_of_a_training_keeps_its_promotion(
    kafka: KafkaConnection, trained: Register, good: TrainingResult
) -> None:
    made = trained(good, "run")
    record_promotion(kafka, made)
    trained(good, "run")
    require_recorded(kafka, made, promoted=True)


def test_a_forged_record_of_a_signed_pipeline_is_refused(
    kafka: KafkaConnection, registry: Registry, register: Register, good: TrainingResult
) -> None:
    signing = replace(kafka, signing=SigningKeys("key", {"key": "k" * 32}))
    made = register(good, "run")
    record_version(signing, registry, made)
    require_recorded(signing, made, promoted=False)
    record_promotion(kafka, made)

    with pytest.raises(LedgerDamaged):
        require_recorded(signing, made, promoted=True)
