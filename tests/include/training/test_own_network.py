"""A network of one's own on a real topic: with its own loss and metrics, rebuilt from its card, and no other code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import torch

from include.artifact.model import UntrustedModel, load_model
from include.models.imported import ImportedModel
from include.training.checks import BatchTooSmall
from include.training.loop import train
from include.training.result import store_result
from tests.support.assertions import assert_readable
from tests.support.digit_trainings import job_over
from tests.support.resumed_trainings import bits, trained_in_pieces

if TYPE_CHECKING:
    from pathlib import Path

    from include.kafka.connection import KafkaConnection

MODULE = "nets_of_a_test"
KIND = f"{MODULE}:Net"
NET = """
from torch import nn
from torch.nn import functional

class Net(nn.Module):
    def __init__(self, input_shape, outputs, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(outputs))

    def forward(self, inputs):
        return self.layers(inputs)

    def loss_of(self, outputs, targets):
        return 1000 + functional.cross_entropy(outputs, targets, label_smoothing=0.1)

    def metrics_of(self, outputs, targets):
        found = outputs.topk(3).indices == targets[:, None]
        return {"top_3": found.any(dim=1).float().mean().item()}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImportedModel:
    (tmp_path / f"{MODULE}.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return ImportedModel.model_validate({"kind": KIND, "width": 40})


def test_it_learns_by_its_own_loss_and_is_rebuilt_from_its_card(
    kafka: KafkaConnection, images: str, own: ImportedModel, tmp_path: Path
) -> None:
    job = job_over(kafka, images, model=own)
    trained = train(job, kafka, tmp_path)
    assert trained.evaluation.score > 0.5
    assert trained.evaluation.loss > 1000
    assert trained.history[-1]["held_out_top_3"] > trained.history[-1]["held_out_accuracy"]

    result = store_result(tmp_path, job, "run", trained)
    model = load_model(result.model_directory, result.digest, trusted=[KIND])
    assert model.card.model == own
    assert model.card.metrics.top_3 == trained.evaluation.metrics["top_3"]  # type: ignore[attr-defined]
    inputs = torch.rand(3, *job.format.input_shape)
    assert torch.equal(model.network(inputs), trained.network.eval()(inputs))


CHANCE = """
import random
import numpy as np
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, input_shape, outputs, width):
        super().__init__(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(outputs))

    def forward(self, inputs):
        if self.training:
            inputs = inputs * random.gauss(1, 0.3) + np.random.normal(0, 0.3)
        return super().forward(inputs)
"""


def test_one_that_draws_from_python_s_and_numpy_s_generators_is_resumed_with_the_same_bits(
    kafka: KafkaConnection, images: str, own: ImportedModel, tmp_path: Path
) -> None:
    (tmp_path / f"{MODULE}.py").write_text(CHANCE)
    job = job_over(kafka, images, model=own, epochs=3)
    whole = train(job, kafka, tmp_path / "whole")
    pieces, attempts = trained_in_pieces(kafka, job, tmp_path / "pieces", 11)
    assert attempts > 2
    assert bits(pieces) == bits(whole)


NORMALISED = """
from torch import nn

def Net(input_shape, outputs, width):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.BatchNorm1d(width), nn.Linear(width, outputs))
"""


def test_a_batch_of_one_that_it_does_not_take_is_refused_with_what_to_do(
    kafka: KafkaConnection, images: str, own: ImportedModel, tmp_path: Path
) -> None:
    (tmp_path / f"{MODULE}.py").write_text(NORMALISED)
    job = job_over(kafka, images, model=own, batch_size=1)
    with pytest.raises(BatchTooSmall) as refused:
        train(job, kafka, tmp_path)
    assert_readable(refused.value, f"{job.pipeline}.toml", "training.batch_size than 1", "more than 1 value")


def test_a_card_may_not_name_code_that_the_pipeline_s_file_does_not(
    kafka: KafkaConnection, images: str, own: ImportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_over(kafka, images, model=own, epochs=1)
    result = store_result(tmp_path, job, "run", train(job, kafka, tmp_path))
    monkeypatch.delitem(sys.modules, MODULE)
    with pytest.raises(UntrustedModel) as refused:
        load_model(result.model_directory, result.digest, trusted=["another_package.nets:build"])
    assert_readable(refused.value, KIND, f"{job.pipeline}.toml", "another_package.nets:build", "earlier_models")
    assert MODULE not in sys.modules
