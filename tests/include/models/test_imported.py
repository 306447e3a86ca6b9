"""A user's network: named in the file, imported when it is built, and checked with zeros before it is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch

from include.models.convnet import ConvNet
from include.models.imported import ImportedModel
from include.network.build import WrongNetwork, build_network
from include.targets.classification import Classification
from include.targets.regression import Regression
from tests.support.assertions import assert_readable

if TYPE_CHECKING:
    from pathlib import Path

    from include.targets.base import Tally

SHAPE = (1, 8, 8)
LETTERS = Classification(("a", "b", "c"))

HEAD = """
import torch
from torch import nn
"""
GOOD = """
def build(input_shape, outputs, width=16):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.Dropout(0.5), nn.Linear(width, outputs))
"""
METHODS = """
class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.layer = nn.Linear(64, outputs)
    def forward(self, inputs):
        return self.layer(inputs.flatten(1))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module that can be imported, and gives its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(content: str) -> str:
        name = f"own_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(HEAD + content)
        return name

    return write


def test_it_is_called_with_shape_outputs_and_the_table_s_other_keys(module: Callable[[str], str]) -> None:
    model = ImportedModel.model_validate({"kind": f"{module(GOOD)}:build", "width": 5})
    network = build_network(model, SHAPE, LETTERS, file="own.toml")
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == {
        "1.weight": (5, 64),
        "1.bias": (5,),
        "3.weight": (3, 5),
        "3.bias": (3,),
    }


def test_it_comes_back_from_json_with_its_settings() -> None:
    model = ImportedModel.model_validate({"kind": "my_package.my_module:build", "width": 5, "names": ["a"]})
    assert ImportedModel.model_validate(model.model_dump(mode="json")) == model


def test_the_look_with_zeros_draws_nothing_from_the_generator() -> None:
    torch.manual_seed(1)
    built = ConvNet(channels=(4,)).build(SHAPE, 3)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    looked_at = build_network(ConvNet(channels=(4,)), SHAPE, LETTERS, file="own.toml")
    assert torch.equal(torch.get_rng_state(), after)
    for name, tensor in built.state_dict().items():
        assert torch.equal(looked_at.state_dict()[name], tensor)


def test_answers_on_another_device_are_checked_there(module: Callable[[str], str]) -> None:
    """Keras answers on the GPU where there is one, whatever the inputs are on."""
    content = METHODS.replace("self.layer(inputs.flatten(1))", "torch.empty(len(inputs), 3, device='meta')")

    class Counted(Classification):
        def tally(self, device: torch.device) -> Tally:
            assert device.type == "meta"
            return super().tally(torch.device("cpu"))  # the other has no numbers

    model = ImportedModel(kind=f"{module(content)}:Net")
    assert build_network(model, SHAPE, Counted(LETTERS.labels), file="own.toml").layer.out_features == 3


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("def other(): ...", ["can't be imported", "AttributeError", "PYTHONPATH"]),
        ("raise OSError('no licence')", ["can't be imported", "OSError: no licence"]),
        ("build = 3", ["fails for inputs of shape (1, 8, 8)", "TypeError", "[model]"]),
        ("def build(input_shape, outputs): ...", ["fails for inputs", "unexpected keyword argument 'depth'"]),
        ("def build(*a, depth): return [nn.Linear(64, 3)]", ["builtins.list", "torch.nn.Module"]),
        ("def build(*a, depth): return nn.Linear(64, 3)", ["(1, 8, 8)", "[format]", "RuntimeError"]),
        ("def build(*a, depth): return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))", ["(2, 4)", "(2, 3)", "labels"]),
        ("def build(*a, depth): return nn.Flatten(0)", ["(128,)", "(2, 3)", "last layer"]),
        ("def build(*a, depth): return nn.Sequential(nn.Flatten(1, 2), nn.LSTM(8, 3))", ["a tuple", "float32 tensor"]),
        (METHODS + "    loss_of = None\nbuild = lambda *a, depth: Net(*a)", ["loss_of", "TypeError"]),
        (METHODS + "    def loss_of(self, o, t): return o\nbuild = lambda *a, depth: Net(*a)", ["no scalar tensor"]),
        (
            METHODS + "    def metrics_of(self, o, t): return {'accuracy': 1}\nbuild = lambda *a, depth: Net(*a)",
            ["'accuracy'", "another name"],
        ),
        (
            METHODS + "    def metrics_of(self, o, t): return {'top@3': 1}\nbuild = lambda *a, depth: Net(*a)",
            ["'top@3'", "letters"],
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_it_learns(
    module: Callable[[str], str], content: str, expected: list[str]
) -> None:
    kind = f"{module(content)}:build"
    with pytest.raises(WrongNetwork) as refused:
        build_network(ImportedModel.model_validate({"kind": kind, "depth": 2}), SHAPE, LETTERS, file="own.toml")
    assert_readable(refused.value, "own.toml", *expected)


def test_a_module_that_is_not_there_is_refused() -> None:
    with pytest.raises(WrongNetwork) as refused:
        build_network(ImportedModel(kind="no_such_package.nets:build"), SHAPE, LETTERS, file="own.toml")
    assert_readable(refused.value, "own.toml", "'no_such_package.nets:build'", "PYTHONPATH")


def test_a_single_number_without_its_axis_is_refused_and_not_broadcast(module: Callable[[str], str]) -> None:
    """Targets (batch, 1) against outputs (batch,) would be a loss over every pair of samples."""
    kind = f"{module('def build(*a): return nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))')}:build"
    with pytest.raises(WrongNetwork) as refused:
        build_network(ImportedModel(kind=kind), SHAPE, Regression(("price",)), file="own.toml")
    assert_readable(refused.value, "(2,)", "(2, 1)")
