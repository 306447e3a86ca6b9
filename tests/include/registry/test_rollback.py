"""A champion is set back only to a version that was champion, and the ledger keeps who did it and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from include.errors import NothingToDo
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.snapshot import snapshot_ledger
from include.kafka.errors import LedgerDamaged
from include.kafka.signing import SigningKeys
from include.registry import rollback
from include.registry.record import record_promotion, record_version
from include.registry.rollback import NeverPromoted, Rollback, roll_back
from include.registry.tracking import Registry
from include.registry.versions import Version, champion, set_champion
from tests.support.assertions import assert_readable

if TYPE_CHECKING:
    from include.artifact.result import TrainingResult
    from include.kafka.connection import KafkaConnection

Register = Callable[["TrainingResult", str], Version]
DECISION = {"why": "it calls every digit 7", "by": "ada"}


@pytest.fixture
def versions(
    kafka: KafkaConnection, registry: Registry, trained: Register, good: TrainingResult, bad: TrainingResult
) -> tuple[Version, Version]:
    """Two versions that were promoted one after the other."""
    made = trained(good, "first"), trained(bad, "second")
    for each in made:
        record_promotion(kafka, each)
        set_champion(registry, each)
    return made


def test_the_champion_is_set_back_and_the_ledger_keeps_who_did_it_and_why(
    kafka: KafkaConnection, registry: Registry, versions: tuple[Version, Version]
) -> None:
    first, second = versions

    decided = roll_back(kafka, registry, first.name, first.number, run="a.rollback/one", **DECISION)

    assert decided == Rollback(first.number, second.number, **DECISION)
    assert champion(registry, first.name) == first
    key = LedgerKey(kafka.environment, first.name, rollback.STEP, "a.rollback/one")
    assert snapshot_ledger(kafka, [key])[key] == decided.to_dict()


def test_a_repeated_attempt_finds_its_decision_and_another_run_nothing_to_do(
    kafka: KafkaConnection, registry: Registry, versions: tuple[Version, Version], new_name: Callable[[], str]
) -> None:
    first, _ = versions
    run, other = new_name(), new_name()
    decided = roll_back(kafka, registry, first.name, first.number, run=run, **DECISION)

    assert roll_back(kafka, registry, first.name, first.number, run=run, **DECISION) == decided
    with pytest.raises(NothingToDo, match="champion already"):
        roll_back(kafka, registry, first.name, first.number, run=other, **DECISION)


def test_a_version_that_was_never_champion_is_refused(
    kafka: KafkaConnection,
    registry: Registry,
    versions: tuple[Version, Version],
    trained: Register,
    good: TrainingResult,
    new_name: Callable[[], str],
) -> None:
    third = trained(good, "third")

    with pytest.raises(NeverPromoted) as refused:
        roll_back(kafka, registry, third.name, third.number, run=new_name(), **DECISION)

    assert_readable(refused.value, "Version 3", "never champion")
    assert champion(registry, third.name) == versions[1]


def test_a_decision_of_a_signed_pipeline_is_signed(
    kafka: KafkaConnection, registry: Registry, register: Register, good: TrainingResult, new_name: Callable[[], str]
) -> None:
    signing = replace(kafka, signing=SigningKeys("key", {"key": "k" * 32}))
    made = register(good, "run")
    record_version(signing, registry, made)
    record_promotion(signing, made)
    run = new_name()
    key = LedgerKey(kafka.environment, made.name, rollback.STEP, run)

    roll_back(signing, registry, made.name, made.number, run=run, **DECISION)

    assert snapshot_ledger(signing, [key])[key]["by"] == "ada"
    with pytest.raises(LedgerDamaged):
        snapshot_ledger(replace(signing, signing=SigningKeys("key", {"key": "o" * 32})), [key])
