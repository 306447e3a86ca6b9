"""A Keras model on its torch backend goes the way of any network: learnt, resumed, saved, loaded, predicted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from include.artifact.model import load_model
from include.models.imported import ImportedModel
from include.network.build import WrongNetwork, build_network
from include.prediction.forward import forward
from include.storage.state import PROJECT_ROOT
from include.targets.classification import Classification
from include.training.initial_weights import freeze_layers
from include.training.loop import train
from include.training.result import store_result
from tests.support.assertions import assert_readable
from tests.support.digit_trainings import job_over
from tests.support.resumed_trainings import bits, trained_in_pieces

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

KERAS = """
import keras
from keras import layers

def named(input_shape, outputs):
    inputs = keras.Input(input_shape)
    last = layers.Permute((2, 3, 1))(inputs)
    last = layers.Conv2D(8, 3, padding="same", activation="relu")(last)
    last = layers.BatchNormalization()(layers.MaxPooling2D()(last))
    return keras.Model(inputs, layers.Dense(outputs)(layers.Dropout(0.2)(layers.Flatten()(last))))

def bare(input_shape, outputs):
    return keras.Sequential([layers.Flatten(), layers.Dense(4), layers.BatchNormalization(center=False, scale=False),
                             layers.Dense(outputs)])

class Unnamed(layers.Layer):
    def build(self, shape):
        self.first, self.second = self.add_weight(shape=(shape[-1], 4)), self.add_weight(shape=(4, 3))

    def call(self, inputs):
        return inputs @ self.first @ self.second

def unnamed(input_shape, outputs):
    return keras.Sequential([layers.Flatten(), Unnamed(), layers.Dense(outputs)])

class Alike(keras.Model):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.flat = layers.Flatten()
        self.first, self.second = layers.Dense(4, name="d"), layers.Dense(outputs, name="d")

    def call(self, inputs):
        return self.second(self.first(self.flat(inputs)))

def lazy(input_shape, outputs):
    return keras.Sequential([layers.Flatten(), layers.Dense(32, activation="relu"), layers.Dropout(0.2),
                             layers.Dense(outputs)])
"""


@pytest.fixture
def keras_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with functions that make Keras models."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    # Or it writes its settings into the home of whoever runs the tests.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras_models_of_a_test.py").write_text(KERAS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keras_models_of_a_test", raising=False)
    return "keras_models_of_a_test"


@pytest.mark.parametrize("name", ["named", "lazy"])
def test_it_learns_is_resumed_and_predicts_as_it_did(
    kafka: KafkaConnection, images: str, keras_models: str, tmp_path: Path, name: str
) -> None:
    model = ImportedModel(kind=f"{keras_models}:{name}")
    job = job_over(kafka, images, model=model, epochs=3, learning_rate=0.01)
    whole = train(job, kafka, tmp_path / "whole")
    assert whole.evaluation.score > 0.5, whole.history
    pieces, attempts = trained_in_pieces(kafka, job, tmp_path / "pieces", 11)
    assert attempts > 2
    assert bits(pieces) == bits(whole)

    result = store_result(tmp_path, job, "run", whole)
    loaded = load_model(result.model_directory, result.digest, trusted=[model.kind])
    inputs = torch.rand(5, *job.format.input_shape)
    with torch.no_grad():
        assert torch.equal(loaded.network(inputs), whole.network.eval()(inputs))
        answers = forward(loaded.network, inputs, loaded.card.target.answers)
    assert all(isinstance(answer, dict) and answer["label"] in loaded.card.target.labels for answer in answers)


def test_its_parameters_are_named_by_position_however_many_models_were_made(keras_models: str) -> None:
    model, target = ImportedModel(kind=f"{keras_models}:named"), Classification(("a", "b"))
    names = [list(build_network(model, (1, 8, 8), target, file="own.toml").state_dict()) for _ in range(2)]
    assert names[0] == names[1]
    assert [name for name in names[0] if "seed" not in name] == [
        "0.bias",
        "0.kernel",
        "1.beta",
        "1.gamma",
        "1.moving_mean",
        "1.moving_variance",
        "2.bias",
        "2.kernel",
    ]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("unnamed", ["0.variable", "0.variable_1", "1.bias", "1.kernel"]),
        ("Alike", ["0.bias", "0.bias_1", "0.kernel", "0.kernel_1"]),
    ],
)
def test_variables_without_a_name_or_with_one_twice_are_all_there_under_the_same_names_each_time(
    keras_models: str, name: str, names: list[str]
) -> None:
    model, target = ImportedModel(kind=f"{keras_models}:{name}"), Classification(("a", "b"))
    for _ in range(2):
        assert list(build_network(model, (1, 8, 8), target, file="own.toml").state_dict()) == names


def test_its_first_weights_follow_the_seed(keras_models: str) -> None:
    model, target = ImportedModel(kind=f"{keras_models}:lazy"), Classification(("a", "b"))

    def first_weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return build_network(model, (1, 8, 8), target, file="own.toml").state_dict()["0.kernel"]

    assert torch.equal(first_weights(1), first_weights(1))
    assert not torch.equal(first_weights(1), first_weights(2))


def test_dropout_and_normalisation_go_by_the_mode_of_the_network(keras_models: str) -> None:
    model = ImportedModel(kind=f"{keras_models}:named")
    network = build_network(model, (1, 8, 8), Classification(("a", "b")), file="own.toml")
    inputs = torch.rand(8, 1, 8, 8)
    assert torch.equal(network(inputs), network(inputs))
    assert not torch.equal(network.train()(inputs), network(inputs))


@pytest.mark.parametrize(
    ("name", "patterns", "moves"),
    [
        ("named", ["1.*"], False),
        ("named", ["1.gamma", "1.beta"], False),
        ("named", ["0.*"], True),
        ("bare", ["1.*"], False),
        ("bare", ["0.*"], True),
    ],
)
def test_the_statistics_of_a_normalisation_stay_where_it_is_frozen(
    keras_models: str, name: str, patterns: list[str], moves: bool
) -> None:
    model = ImportedModel(kind=f"{keras_models}:{name}")
    network = build_network(model, (1, 8, 8), Classification(("a", "b")), file="own.toml").train()
    freeze_layers(network, patterns)
    before = network.state_dict()["1.moving_mean"].clone()
    network(torch.rand(8, 1, 8, 8))
    assert torch.equal(network.state_dict()["1.moving_mean"], before) is not moves


@pytest.mark.slow  # imports Keras and torch in another process
def test_a_process_without_the_setting_takes_the_torch_backend(keras_models: str, tmp_path: Path) -> None:
    """Keras takes TensorFlow by default, and reads its setting once, when it is imported."""
    program = (
        "from include.models.imported import ImportedModel\n"
        "import torch\n"
        f"network = ImportedModel(kind='{keras_models}:lazy').build((1, 8, 8), 3)\n"
        "assert isinstance(network, torch.nn.Module), type(network)\n"
    )
    environment = {"PYTHONPATH": f"{PROJECT_ROOT}:{tmp_path}", "KERAS_HOME": str(tmp_path / "keras"), "PATH": ""}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, check=True)


def test_what_a_keras_model_does_not_take_is_refused(keras_models: str) -> None:
    with pytest.raises(WrongNetwork) as refused:
        build_network(ImportedModel(kind=f"{keras_models}:named"), (64,), Classification(("a", "b")), file="own.toml")
    assert_readable(refused.value, "own.toml", "(64,)", "[model]")
