"""For each task: parsing of labels, metrics, and answers."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from include.refusal import Refusal
from include.targets.classification import Classification
from include.targets.multi_label import MultiLabel
from include.targets.regression import Regression, Scale, ScaleFinder

if TYPE_CHECKING:
    from include.targets.base import Target

SEED = 11
CPU = torch.device("cpu")
CLASSES = Classification(("cat", "dog", "fox"))
SEVERAL = MultiLabel(("cat", "dog", "fox"), ",")
NUMBER = Regression(("price",))
NUMBERS = Regression(("width", "height"))


@pytest.mark.parametrize(
    ("target", "text", "value"),
    [
        (CLASSES, "dog", 1),
        (SEVERAL, "fox, cat", [1.0, 0.0, 1.0]),
        (SEVERAL, '["dog"]', [0.0, 1.0, 0.0]),
        (MultiLabel(("1", "2", "true"), ","), "[2.0, 1, true]", [1.0, 1.0, 1.0]),
        (MultiLabel(("1", "2"), ","), "2.0,1", [1.0, 1.0]),
        (Classification(("0", "1")), "1.0", 1),
        (Classification(("0.0", "1.0")), "1", 1),
        (Classification(("True", "False")), "false", 1),
        (Classification(("1", "1.0")), "1.0", 1),
        (SEVERAL, "", [0.0, 0.0, 0.0]),
        (SEVERAL, "[]", [0.0, 0.0, 0.0]),
        (MultiLabel(("a,b", "c"), "|"), "a,b|c", [1.0, 1.0]),
        (NUMBER, "12.5", [12.5]),
        (NUMBER, "[-3]", [-3.0]),
        (NUMBERS, "[1e3, 2]", [1000.0, 2.0]),
    ],
)
def test_a_label_is_parsed(target: Target, text: str, value: Any) -> None:
    assert target.read(text) == value


def test_names_are_compared_as_people_read_them() -> None:
    """macOS writes an accent as a character of its own."""
    for labels in (("caf\u00e9", "tea"), ("cafe\u0301", "tea")):
        for name in ("caf\u00e9", "cafe\u0301"):
            assert Classification(labels).read(name) == 0
            assert MultiLabel(labels, ",").read(f"tea,{name}") == [1.0, 1.0]


@pytest.mark.parametrize(
    ("target", "text", "reason"),
    [
        (CLASSES, "cow", "unknown-label"),
        (CLASSES, "", "unknown-label"),
        (SEVERAL, "cat,cow", "unknown-label"),
        (SEVERAL, '["cat", 3]', "unknown-label"),
        (SEVERAL, '["cat", null]', "not-a-list"),
        (SEVERAL, '["cat", ["dog"]]', "not-a-list"),
        (SEVERAL, '["cat", {}]', "not-a-list"),
        (SEVERAL, '["cat", 1e999]', "not-a-list"),
        (SEVERAL, '["cat"', "not-a-list"),
        (NUMBER, "twelve", "not-a-number"),
        (NUMBER, "NaN", "not-a-number"),
        (NUMBER, "Infinity", "not-a-number"),
        (NUMBER, "1e300", "not-a-number"),
        (NUMBER, "1" * 5000, "not-a-number"),
        (NUMBER, "[" * 5000, "not-a-number"),
        (NUMBER, "true", "not-a-number"),
        (NUMBER, "", "not-a-number"),
        (NUMBER, "[1, 2]", "wrong-count"),
        (NUMBERS, "1", "wrong-count"),
    ],
)
def test_an_invalid_label_is_refused_with_a_reason(target: Target, text: str, reason: str) -> None:
    found = target.read(text)
    assert isinstance(found, Refusal)
    assert found.reason == reason
    assert len(found.error) < 400


@pytest.mark.parametrize("target", [CLASSES, SEVERAL, NUMBERS], ids=lambda target: target.task)
def test_an_unknown_target_differs_from_parsed_ones(target: Target) -> None:
    text = {"classification": "cat", "multi-label": "", "regression": "[0, -1]"}[target.task]
    rows = np.array([target.read(text), target.unknown], target.dtype)
    assert target.known(rows).tolist() == [True, False]


def tallied(target: Target, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """The metrics of an evaluation in two batches."""
    tally = target.tally(CPU)
    for rows in (slice(0, 7), slice(7, None)):
        tally.add(outputs[rows], targets[rows])
    return tally.metrics()


def test_accuracy_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score

    random = np.random.default_rng(SEED)
    true, outputs = random.integers(0, 3, 50), random.normal(size=(50, 3))
    found = tallied(CLASSES, torch.from_numpy(outputs), torch.from_numpy(true))
    assert found == {"accuracy": pytest.approx(accuracy_score(true, outputs.argmax(1)))}


def test_micro_f1_and_subset_accuracy_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    random = np.random.default_rng(SEED)
    true, outputs = random.integers(0, 2, (50, 3)), random.normal(size=(50, 3))
    found = tallied(SEVERAL, torch.from_numpy(outputs), torch.from_numpy(true).float())
    assert found["micro_f1"] == pytest.approx(f1_score(true, outputs >= 0, average="micro"))
    assert found["subset_accuracy"] == pytest.approx(accuracy_score(true, outputs >= 0))


def test_the_best_constant_answer_is_what_trying_all_of_them_finds() -> None:
    from itertools import product

    from sklearn.metrics import f1_score

    random = np.random.default_rng(SEED)
    classes = random.integers(0, 3, 50)
    assert CLASSES.constant_score(CLASSES.counts(classes).tolist(), 50) == max(np.bincount(classes)) / 50
    several = (random.random((50, 3)) < (0.9, 0.5, 0.1)).astype(int)
    best = max(
        f1_score(several, np.tile(answer, (50, 1)), average="micro", zero_division=0)
        for answer in product((0, 1), repeat=3)
    )
    assert SEVERAL.constant_score(SEVERAL.counts(several).tolist(), 50) == pytest.approx(best)
    assert NUMBER.constant_score([50], 50) == 0


@pytest.mark.parametrize("offset", [0.0, 1e6], ids=["around 0", "far from 0"])
@pytest.mark.parametrize("scale", [None, Scale((1e6, -2.0), (3.0, 0.5))], ids=["plain", "normalised"])
def test_r2_and_mae_are_those_of_scikit_learn(offset: float, scale: Scale | None) -> None:
    from sklearn.metrics import mean_absolute_error, r2_score

    random = np.random.default_rng(SEED)
    true = (random.normal(size=(50, 2)) + offset).astype(np.float32)
    target = Regression(("width", "height"), scale=scale)
    outputs = target.prepared(torch.from_numpy(true)) + 0.1 * torch.from_numpy(random.normal(size=(50, 2))).float()
    found = tallied(target, outputs, torch.from_numpy(true))
    predicted = target.restored(outputs).numpy()
    assert found["r2"] == pytest.approx(r2_score(true.astype(np.float64), predicted))
    assert found["mae"] == pytest.approx(mean_absolute_error(true.astype(np.float64), predicted))


@pytest.mark.parametrize(
    "target", [CLASSES, SEVERAL, NUMBERS, Regression(("width", "height"), scale=Scale((1e6, -2.0), (3.0, 0.5)))]
)
def test_what_each_sample_adds_sums_up_to_the_score(target: Target) -> None:
    random = np.random.default_rng(SEED)
    true = {
        "classification": random.integers(0, 3, 50),
        "multi-label": random.integers(0, 2, (50, 3)).astype(np.float32),
        "regression": random.normal((1e6, 0), 1, (50, 2)).astype(np.float32),
    }[target.task]
    targets, outputs = torch.from_numpy(true), torch.from_numpy(random.normal(size=(50, len(target.labels))))

    sums = target.addends(outputs, targets).sum(dim=0).numpy()

    assert target.score(sums, 50) == pytest.approx(tallied(target, outputs, targets)[target.metric], rel=1e-3)


@pytest.mark.parametrize("target", [CLASSES, SEVERAL, NUMBER], ids=lambda target: target.task)
def test_metrics_of_no_samples_are_finite(target: Target) -> None:
    metrics = target.tally(CPU).metrics()
    assert metrics[target.metric] == 0
    assert all(math.isfinite(value) for value in metrics.values())


def test_the_scale_is_mean_and_deviation_for_any_batches() -> None:
    values = np.random.default_rng(SEED).normal(1e6, 3.0, (500, 2)).astype(np.float32)
    finder = ScaleFinder()
    for rows in (slice(0, 1), slice(1, 1), slice(1, 300), slice(300, None)):
        finder.add(values[rows])
    scale = finder.scale()
    assert scale is not None
    assert scale.mean == pytest.approx(values.astype(np.float64).mean(axis=0))
    assert scale.deviation == pytest.approx(values.astype(np.float64).std(axis=0))


def test_a_constant_number_is_not_divided_by_zero() -> None:
    finder = ScaleFinder()
    finder.add(np.full((5, 1), 0.1, np.float32))
    assert finder.scale() == Scale((pytest.approx(0.1),), (1.0,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "outputs", "answer"),
    [
        (CLASSES, [0.0, math.log(2), 0.0], {"label": "dog", "score": 0.5}),
        (SEVERAL, [0.0, -100.0, 100.0], {"labels": ["cat", "fox"], "scores": {"cat": 0.5, "dog": 0.0, "fox": 1.0}}),
        (NUMBERS, [1.1, -2.0], {"values": {"width": 1.1, "height": -2.0}}),
        (Regression(("price",), scale=Scale((100.0,), (10.0,))), [0.5], {"values": {"price": 105.0}}),
    ],
)
def test_an_answer_is_plain_json(target: Target, outputs: list[float], answer: dict[str, Any]) -> None:
    (found,) = target.answers(torch.tensor([outputs]))
    assert found == answer
    assert json.loads(json.dumps(found, allow_nan=False)) == answer


def test_the_best_labels_come_in_order_and_the_first_is_the_answer() -> None:
    rows = torch.tensor([[0.0, math.log(2), 0.0], [1.0, 1.0, 1.0], [float("nan"), 0.0, 0.0]])

    first, equal, unknown = CLASSES.answers(rows, top_k=2)

    assert first == {
        "label": "dog",
        "score": 0.5,
        "top": [{"label": "dog", "score": 0.5}, {"label": "cat", "score": 0.25}],
    }
    assert equal is not None
    assert equal["top"][0] == {"label": equal["label"], "score": equal["score"]}
    assert unknown is None
    assert len((CLASSES.answers(rows, top_k=10)[0] or {})["top"]) == 3


@pytest.mark.parametrize("target", [CLASSES, SEVERAL, NUMBER], ids=lambda target: target.task)
def test_an_output_that_is_not_finite_has_no_answer(target: Target) -> None:
    bad = torch.full((1, len(target.labels)), float("nan"))
    assert target.answers(torch.cat([torch.zeros(1, len(target.labels)), bad]))[1] is None


@pytest.mark.parametrize(
    ("target", "answer", "other", "same", "difference", "said"),
    [
        (CLASSES, {"label": "cat", "score": 0.5}, {"label": "cat", "score": 0.75}, True, 0.25, "cat (0.7500)"),
        (CLASSES, {"label": "cat", "score": 0.5}, {"label": "fox", "score": 0.25}, False, -0.25, "fox (0.2500)"),
        (
            SEVERAL,
            {"labels": ["cat"], "scores": {"cat": 0.5, "dog": 0.25}},
            {"labels": [], "scores": {"cat": 0.25, "dog": 0.25, "cow": 1}},
            False,
            -0.125,
            "no label",
        ),
        (
            SEVERAL,
            {"labels": ["cat", "dog"], "scores": {"cat": 0.5, "dog": 0.5}},
            {"labels": ["dog", "cat"], "scores": {"dog": 1.0, "cat": 0.5}},
            True,
            0.25,
            "dog (1.0000), cat (0.5000)",
        ),
        (NUMBER, {"values": {"price": 3.0}}, {"values": {"price": 3.0625}}, True, 0.0625, "price 3.0625"),
        (NUMBER, {"values": {"price": 3.0}}, {"values": {"price": 2.5}}, False, -0.5, "price 2.5"),
        (
            Regression(("width", "height"), scale=Scale((0.0, 0.0), (100.0, 10.0))),
            {"values": {"width": 0.0, "height": 0.0}},
            {"values": {"width": 8.0, "height": -0.5}},
            True,
            0.015,
            "width 8, height -0.5",
        ),
    ],
)
def test_answers_of_two_models_are_compared(
    target: Target, answer: dict[str, Any], other: dict[str, Any], same: bool, difference: float, said: str
) -> None:
    assert target.compared(answer, other) == (same, pytest.approx(difference))
    assert target.said(other) == said


def test_answers_with_other_names_cannot_be_compared() -> None:
    with pytest.raises(KeyError, match="no name in common"):
        NUMBER.compared({"values": {"price": 1.0}}, {"values": {"weight": 1.0}})
