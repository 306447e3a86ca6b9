"""Weights to start from, and layers that stay as they are."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from include.training.initial_weights import (
    InitialWeights,
    InitialWeightsChanged,
    WrongFreeze,
    WrongInitialWeights,
    freeze_layers,
    load_initial_weights,
)
from include.training.loop import TrainedNetwork, train
from tests.support.assertions import assert_readable
from tests.support.digit_trainings import job_over
from tests.support.resumed_trainings import bits, trained_in_pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob


def network(outputs: int = 3, hidden: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[nn.Module], tuple[InitialWeights, Path]]:
    """Writes a network's weights, and gives the start that is made of them."""

    def save(made: nn.Module) -> tuple[InitialWeights, Path]:
        path = tmp_path / "base.safetensors"
        save_file(made.state_dict(), path)
        return InitialWeights(source=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest()), path

    return save


def test_all_weights_are_taken_over(saved: Callable[..., tuple[InitialWeights, Path]]) -> None:
    base, own = network(), network()
    load_initial_weights(own, *saved(base))
    assert all(torch.equal(own.state_dict()[name], tensor) for name, tensor in base.state_dict().items())


def test_a_last_layer_for_other_labels_is_learnt_from_nothing(
    saved: Callable[..., tuple[InitialWeights, Path]],
) -> None:
    base, own = network(outputs=3), network(outputs=7)
    head = own[3].weight.detach().clone()
    load_initial_weights(own, *saved(base))
    assert torch.equal(own[0].weight, base[0].weight)
    assert torch.equal(own[3].weight, head)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (network(hidden=6), ["'0.weight'", "(6, 4)", "(5, 4)", "last layer '3'"]),
        (nn.Sequential(network(), nn.Linear(3, 3)), ["another network", "start_from"]),
        (nn.Sequential(nn.Linear(4, 5)), ["another network", "start_from"]),
    ],
)
def test_weights_of_another_network_are_refused(
    saved: Callable[..., tuple[InitialWeights, Path]], base: nn.Module, expected: list[str]
) -> None:
    with pytest.raises(WrongInitialWeights) as refused:
        load_initial_weights(network(), *saved(base))
    assert_readable(refused.value, *expected)


def test_a_file_that_has_changed_since_is_refused(saved: Callable[..., tuple[InitialWeights, Path]]) -> None:
    start, path = saved(network())
    saved(network())
    with pytest.raises(InitialWeightsChanged) as refused:
        load_initial_weights(network(), start, path)
    assert_readable(refused.value, path, start.sha256[:12])


@pytest.mark.parametrize("content", [None, b"", b"no weights at all"], ids=["no file", "empty", "garbage"])
def test_a_file_without_weights_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "base.safetensors"
    if content is not None:
        path.write_bytes(content)
    start = InitialWeights(source="base.safetensors", sha256=hashlib.sha256(content or b"").hexdigest())
    with pytest.raises(WrongInitialWeights) as refused:
        load_initial_weights(network(), start, path)
    assert_readable(refused.value, path)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [(["0.*", "nine.*"], ["'nine.*'", "0.weight", "training.freeze"]), (["*"], ["'*'", "leave some to train"])],
)
def test_patterns_that_match_nothing_or_all_are_refused(patterns: list[str], expected: list[str]) -> None:
    with pytest.raises(WrongFreeze) as refused:
        freeze_layers(network(), patterns)
    assert_readable(refused.value, *expected)


@pytest.fixture(scope="module")
def job(kafka: KafkaConnection, images: str) -> TrainingJob:
    return job_over(kafka, images, epochs=2)


@pytest.fixture(scope="module")
def base(
    kafka: KafkaConnection, job: TrainingJob, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainedNetwork, Path]:
    """A training to start from, and its weights as a file."""
    folder = tmp_path_factory.mktemp("base")
    trained = train(job.model_copy(update={"epochs": 3}), kafka, folder)
    path = folder / "base.safetensors"
    save_file(trained.network.state_dict(), path)
    return trained, path


def fine_tuning(job: TrainingJob, weights: Path, **settings: object) -> TrainingJob:
    start = InitialWeights(source=str(weights), sha256=hashlib.sha256(weights.read_bytes()).hexdigest())
    return job.model_copy(update={"start": start, "learning_rate": 0.002, **settings})


def test_fine_tuning_in_pieces_ends_with_the_bits_of_a_whole_one_and_leaves_frozen_layers(
    kafka: KafkaConnection, job: TrainingJob, base: tuple[TrainedNetwork, Path], tmp_path: Path
) -> None:
    before, weights = base
    tuned = fine_tuning(job, weights, freeze=("0.*", "2.*"))
    whole = train(tuned, kafka, tmp_path / "whole", weights=weights)
    pieces, attempts = trained_in_pieces(kafka, tuned, tmp_path / "pieces", 7, weights=weights)
    assert attempts > 2
    assert bits(pieces) == bits(whole)
    changed = {name for name, content in bits(whole).items() if content != bits(before)[name]}
    assert changed == {name for name in bits(before) if name.partition(".")[0] not in ("0", "2")}


def test_it_begins_where_the_other_ended(
    kafka: KafkaConnection, job: TrainingJob, base: tuple[TrainedNetwork, Path], tmp_path: Path
) -> None:
    before, weights = base
    first = train(fine_tuning(job, weights, epochs=1), kafka, tmp_path, weights=weights).history[0]
    assert first["held_out_loss"] < before.history[0]["held_out_loss"]
    assert first["train_loss"] < before.history[0]["train_loss"] / 2


def test_the_statistics_of_a_frozen_normalisation_stay() -> None:
    made = network().train()
    freeze_layers(made, ["0.*", "1.*"])
    mean = made[1].running_mean.clone()
    made(torch.randn(8, 4) * math.pi)
    assert torch.equal(made[1].running_mean, mean)
    assert made[3].training


def test_layers_in_a_module_whose_own_parameter_is_frozen_are_trained_as_before() -> None:
    class Positioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.Parameter(torch.zeros(4))
            self.layers = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3))

    made = Positioned().train()
    freeze_layers(made, ["position"])
    assert all(module.training for module in made.layers.modules())
