"""Evaluation: what is counted, and what it leaves as it was."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from include.network.evaluation import evaluate
from include.targets.classification import Classification

CLASSES = Classification(("a", "b", "c"))


class Fixed(nn.Module):
    """Logits that are the inputs themselves; it remembers the mode that it was called in."""

    def __init__(self) -> None:
        super().__init__()
        self.called_in_training: list[bool] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.called_in_training.append(self.training)
        return inputs


def one_hot(*predicted: int) -> torch.Tensor:
    return torch.eye(3)[list(predicted)]


def test_accuracy_and_confusion_count_every_batch() -> None:
    batches = [(one_hot(0, 1, 2), torch.tensor([0, 1, 1])), (one_hot(2), torch.tensor([2]))]
    found = evaluate(Fixed(), batches, CLASSES)
    assert (found.samples, found.metrics) == (4, {"accuracy": 0.75})
    assert found.confusion.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_the_loss_is_the_mean_over_samples_and_not_over_batches() -> None:
    right, wrong = math.log(math.e + 2) - 1, math.log(math.e + 2)
    batches = [(one_hot(0, 0, 0), torch.tensor([0, 0, 0])), (one_hot(0), torch.tensor([1]))]
    assert evaluate(Fixed(), batches, CLASSES).loss == pytest.approx((3 * right + wrong) / 4)


def test_an_empty_batch_counts_for_nothing() -> None:
    batches = [(torch.empty(0, 3), torch.empty(0, dtype=torch.int64)), (one_hot(1), torch.tensor([1]))]
    assert evaluate(Fixed(), batches, CLASSES).samples == 1


def test_no_samples_at_all_are_an_accuracy_of_zero_and_no_error() -> None:
    found = evaluate(Fixed(), [], CLASSES)
    assert (found.samples, found.score, found.loss) == (0, 0.0, 0.0)


@pytest.mark.parametrize("training", [True, False])
def test_it_evaluates_in_evaluation_mode_and_restores_the_mode(training: bool) -> None:
    network = Fixed().train(training)
    evaluate(network, [(one_hot(1), torch.tensor([1]))], CLASSES)
    assert network.called_in_training == [False]
    assert network.training is training


def test_the_mode_is_restored_when_reading_the_batches_fails() -> None:
    def broken():
        raise OSError("gone")
        yield

    network = Fixed().train()
    with pytest.raises(OSError, match="gone"):
        evaluate(network, broken(), CLASSES)
    assert network.training


def test_an_undefined_own_metric_is_logged_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """JSON has no NaN, and the model's card would be none that can be read."""

    class Measured(Fixed):
        def metrics_of(self, outputs: torch.Tensor, _targets: torch.Tensor) -> dict[str, float]:
            return {"recall": math.nan, "largest": float(outputs.max())}

    found = evaluate(Measured(), [(one_hot(1), torch.tensor([1]))], CLASSES)
    assert found.metrics == {"accuracy": 1.0, "largest": 1.0}
    assert "recall" in caplog.text
