"""The order of pooling and ReLU, which is the cheaper one, changes no bit of a training."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from include.models.convnet import ConvNet
from include.models.spectrogram import SpectrogramNet

SHAPE = (1, 16, 16)


def pooled_last(network: nn.Sequential) -> nn.Sequential:
    """The same layers, with each ReLU before the pooling that it follows."""
    layers = list(network)
    for place, (one, next_one) in enumerate(pairwise(layers)):
        if isinstance(one, nn.MaxPool2d) and isinstance(next_one, nn.ReLU):
            layers[place : place + 2] = next_one, one
    return nn.Sequential(*layers)


def trained(network: nn.Sequential) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        outputs = network(torch.randn(8, *SHAPE))
        nn.functional.cross_entropy(outputs, torch.arange(8) % 3).backward()
        optimizer.step()
    return network.state_dict()


@pytest.mark.parametrize("model", [ConvNet(channels=(4, 8)), SpectrogramNet(channels=(4, 8))], ids=lambda one: one.kind)
def test_pooling_before_relu_trains_the_bits_of_pooling_after_it(model: ConvNet | SpectrogramNet) -> None:
    def network() -> nn.Sequential:
        torch.manual_seed(1)
        built = model.build(SHAPE, 3)
        assert isinstance(built, nn.Sequential)
        return built

    assert [type(layer) for layer in pooled_last(network())] != [type(layer) for layer in network()]
    cheaper, dearer = trained(network()), trained(pooled_last(network()))
    assert list(cheaper) == list(dearer)
    for name, tensor in cheaper.items():
        assert torch.equal(tensor, dearer[name]), name
