"""The reference of inputs and answers, for each task."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from include.codecs.raw import RawCodec
from include.network import reference as module
from include.network.histogram import Histogram
from include.network.reference import Reference, ReferenceFinder, RowSampler, answer_numbers, label_histogram
from include.targets.base import Target
from include.targets.classification import Classification
from include.targets.multi_label import MultiLabel
from include.targets.regression import Regression

CODEC = RawCodec(shape=(2,), dtype="float32")
CLASSES = Classification(("a", "b", "c"))


def reference_of(target: Target, outputs: torch.Tensor, *, parts: int = 1) -> Reference:
    finder = ReferenceFinder(CODEC, target)
    for part in outputs.chunk(parts):
        finder.add(torch.zeros(len(part), 2), part)
    return finder.reference()


def by_name(histograms: tuple[Histogram, ...]) -> dict[str, Histogram]:
    return {found.name: found for found in histograms}


def test_inputs_are_described_by_their_mean_and_deviation() -> None:
    finder = ReferenceFinder(CODEC, CLASSES)
    finder.add(torch.tensor([[1.0, 3.0], [2.0, 2.0]]), torch.eye(3)[:2])

    found = by_name(finder.reference().inputs)
    assert found["mean"].count(np.array([2.0])) == (0, 1, 0)
    assert found["deviation"].counts == (0, 1, 0, 1, 0)
    assert found["deviation"].edges[1::2] == (0.0, 1.0)


def test_a_classification_has_the_shares_of_its_labels_and_its_scores() -> None:
    found = by_name(reference_of(CLASSES, torch.eye(3)[[0, 2, 2, 2]] * 100, parts=3).answers)

    assert found["label"].counts == (1, 0, 3, 0)
    assert found["score"].count(np.array([1.0])) == (0, 1, 0)


def test_of_several_labels_each_counts_and_so_does_none() -> None:
    target = MultiLabel(("a", "b"), "|")
    found = by_name(reference_of(target, torch.tensor([[9.0, 9.0], [9.0, -9.0], [-9.0, -9.0]])).answers)

    assert found["label"].counts == (2, 1, 1)


def test_each_number_of_a_regression_is_compared_by_itself() -> None:
    target = Regression(("height", "width"))
    found = by_name(reference_of(target, torch.tensor([[1.0, 5.0], [2.0, 5.0]])).answers)

    assert found["value.height"].counts == (0, 1, 0, 1, 0)
    assert found["value.width"].counts == (0, 2, 0)


def test_answers_that_are_not_finite_are_left_out() -> None:
    outputs = torch.tensor([[1.0, 0.0, 0.0], [float("nan"), 0.0, 0.0]])

    assert by_name(reference_of(CLASSES, outputs).answers)["label"].total == 1


def test_a_label_that_the_model_does_not_have_counts_as_none() -> None:
    places = answer_numbers(CLASSES, [{"label": "z", "score": 0.5}])["label"]

    assert label_histogram(CLASSES, places).counts == (0, 0, 0, 1)


@pytest.mark.parametrize("most", [1, 7, 10, 99])
@pytest.mark.parametrize("batch", [1, 8, 100])
def test_thinning_keeps_every_nth_row_of_any_batches(most: int, batch: int) -> None:
    thinned = RowSampler(most)
    for start in range(0, 100, batch):
        thinned.add(np.arange(start, min(start + batch, 100)))

    kept = thinned.rows().tolist()
    step = 2 ** next(power for power in range(8) if len(range(0, 100, 2**power)) <= most)
    assert kept == list(range(0, 100, step))


def test_memory_does_not_grow_with_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SAMPLES", 1000)
    finder = ReferenceFinder(CODEC, CLASSES)
    for _ in range(25):
        finder.add(torch.zeros(100, 2), torch.eye(3)[[0] * 100])

    assert {found.total for found in (*finder.reference().inputs, *finder.reference().answers)} == {625}
