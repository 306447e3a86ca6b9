"""A version is promoted only by the approval of its own run, of the comparison that a person has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from include.definition.tables import Promotion
from include.registry import approval
from include.registry.agreement import Agreement, Disagreement
from include.registry.approval import (
    Approval,
    ChampionChanged,
    NotApproved,
    describe,
    end_challenge,
    promote_approved,
    record_approval,
)
from include.registry.promotion import compare
from include.registry.record import record_promotion
from include.registry.tracking import Registry
from include.registry.versions import Version, champion, set_challenger, set_champion
from include.registry.versions import challenger as challenging
from tests.support.assertions import assert_readable

if TYPE_CHECKING:
    from include.artifact.result import TrainingResult
    from include.kafka.connection import KafkaConnection

Register = Callable[["TrainingResult", str], Version]
RUN = "digits.train/one"


@pytest.fixture(autouse=True)
def approvals(monkeypatch: pytest.MonkeyPatch, new_name: Callable[[], str]) -> None:
    """Decisions of the test's own, since each test numbers the versions of one model anew."""
    monkeypatch.setattr(approval, "STEP", new_name())


@pytest.fixture
def pair(
    kafka: KafkaConnection, registry: Registry, trained: Register, good: TrainingResult, bad: TrainingResult
) -> tuple[Version, Version]:
    """The champion, and a better challenger."""
    holder, challenger = trained(bad, "bad"), trained(good, "good")
    record_promotion(kafka, holder)
    set_champion(registry, holder)
    return holder, challenger


def decided(challenger: Version, before: Version | None, **changed: object) -> Approval:
    plain = Approval(challenger.number, None if before is None else before.number, "approved", "ada", RUN)
    return replace(plain, **changed)


def test_what_is_approved_becomes_champion_and_a_repeated_attempt_finds_it(
    kafka: KafkaConnection, registry: Registry, pair: tuple[Version, Version]
) -> None:
    holder, challenger = pair
    record_approval(kafka, challenger.name, decided(challenger, holder))

    for _ in range(2):
        found, by = promote_approved(kafka, registry, challenger.name, challenger.number, RUN)
        assert (found, by.by) == (challenger, "ada")
        assert champion(registry, challenger.name) == challenger


@pytest.mark.parametrize("changed", [None, {"decision": "refused"}, {"decision": "expired", "by": None}, {"run": "r"}])
def test_without_an_approval_of_the_run_nothing_is_promoted(
    kafka: KafkaConnection, registry: Registry, pair: tuple[Version, Version], changed: dict[str, object] | None
) -> None:
    holder, challenger = pair
    if changed is not None:
        record_approval(kafka, challenger.name, decided(challenger, holder, **changed))

    with pytest.raises(NotApproved) as refused:
        promote_approved(kafka, registry, challenger.name, challenger.number, RUN)

    assert_readable(refused.value, f"Version {challenger.number}", RUN, "clear approve_model")
    assert champion(registry, challenger.name) == holder


def test_an_approval_against_another_champion_promotes_nothing(
    kafka: KafkaConnection, registry: Registry, pair: tuple[Version, Version]
) -> None:
    holder, challenger = pair
    record_approval(kafka, challenger.name, decided(challenger, None))

    with pytest.raises(ChampionChanged) as refused:
        promote_approved(kafka, registry, challenger.name, challenger.number, RUN)

    assert_readable(refused.value, "no champion", f"champion {holder.number}", "clear compare_models")
    assert champion(registry, challenger.name) == holder


def test_the_person_sees_both_models_figures_and_matrices(
    kafka: KafkaConnection,
    registry: Registry,
    pair: tuple[Version, Version],
    good: TrainingResult,
    bad: TrainingResult,
) -> None:
    holder, challenger = pair

    compared = compare(kafka, registry, challenger.name, challenger.number, Promotion(floor=0))
    text = describe(compared)

    assert champion(registry, challenger.name) == holder
    assert f"|  | version {challenger.number} | champion {holder.number} |" in text
    assert f"| accuracy | {good.score:.4f} | {bad.score:.4f} |" in text
    for result in (good, bad):
        assert result.outcome.confusion is not None
        assert f"| 3 | {' | '.join(map(str, result.outcome.confusion[3]))} |" in text


def test_a_label_ends_no_cell_and_many_classes_are_listed_by_the_share_that_is_recognised(
    kafka: KafkaConnection, registry: Registry, pair: tuple[Version, Version]
) -> None:
    _, challenger = pair
    compared = compare(kafka, registry, challenger.name, challenger.number, Promotion(floor=0))
    labels = tuple(f"c|{number}\n" for number in range(30))
    confusion = np.diag(np.arange(30)) + np.eye(30, k=1, dtype=np.int64) * 5
    many = replace(compared, labels=labels, found=replace(compared.found, confusion=confusion), other=None)

    text = describe(many)

    assert "| c\\|0\\n | 0.0000 |" in text.replace("\\\\", "\\")
    assert text.count("c\\|") == approval.SHOWN_CLASSES


def test_the_person_sees_how_the_challenger_answered_beside_the_champion(
    kafka: KafkaConnection, registry: Registry, pair: tuple[Version, Version]
) -> None:
    _, challenger = pair
    compared = compare(kafka, registry, challenger.name, challenger.number, Promotion(floor=0))
    apart = Disagreement("digits.requests/2/46", "3 (0.9000)", "x|8 (0.7000)")
    found = Agreement(1000, 975, 5, -99.5, (apart,))

    text = describe(compared, found)

    assert (
        f"Beside the champion, version {challenger.number} answers 97.50% of 1,000 requests as the champion does, with "
        "scores that are -0.1000 higher on average, and has no answer to 5."
    ) in text
    assert "| digits.requests/2/46 | 3 (0.9000) | x\\|8 (0.7000) |" in text
    assert "has answered no requests beside the champion yet" in describe(compared, Agreement())
    assert "Beside the champion" not in describe(compared)


def test_a_challenger_ends_with_the_decision_about_it_and_no_other(
    kafka: KafkaConnection, registry: Registry, pair: tuple[Version, Version]
) -> None:
    holder, challenger = pair
    name = challenger.name
    assert challenging(registry, name) is None

    set_challenger(registry, challenger)
    end_challenge(name, holder.number)
    assert challenging(registry, name) == challenger
    end_challenge(name, challenger.number)
    end_challenge(name, challenger.number)
    assert challenging(registry, name) is None

    set_challenger(registry, challenger)
    record_approval(kafka, name, decided(challenger, holder))
    promote_approved(kafka, registry, name, challenger.number, RUN)
    assert challenging(registry, name) is None


def test_a_decision_counts_while_mlflow_is_away(
    pair: tuple[Version, Version], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, challenger = pair
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/mlflow.db")

    end_challenge(challenger.name, challenger.number)

    assert "goes on beside the champion" in caplog.text
