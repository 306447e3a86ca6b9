"""The spectrogram network is invariant to when a sound begins, and refuses shapes that it can't take."""

from __future__ import annotations

import pytest
import torch

from include.models.spectrogram import SpectrogramNet
from tests.support.assertions import assert_readable


def network_for(*shape, stride=1):
    torch.manual_seed(1)
    return SpectrogramNet(channels=(4, 8), stride=stride).build(shape, 10).eval()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 32, 44), (1, 40, 101), (2, 5, 4)], ids=str)
def test_inputs_become_logits(shape, stride):
    assert network_for(*shape, stride=stride)(torch.randn(3, *shape)).shape == (3, 10)


def test_a_strided_first_stage_computes_a_quarter_of_the_positions():
    def first_positions(stride):
        network = network_for(1, 32, 64, stride=stride)
        return network[:2](torch.randn(1, 1, 32, 64)).shape[2:].numel()

    assert first_positions(1) == 4 * first_positions(2)


def test_without_a_stride_the_definition_s_json_is_that_of_earlier_versions():
    """A job's digest and a model's card are made of it."""
    assert SpectrogramNet().model_dump(mode="json") == {
        "kind": "spectrogram",
        "channels": [16, 32, 64, 64],
        "dropout": 0.25,
    }
    assert SpectrogramNet.model_validate(SpectrogramNet(stride=2).model_dump(mode="json")).stride == 2


def test_a_sound_is_the_same_at_another_time():
    network = network_for(1, 16, 64)
    early, late, higher = torch.zeros(3, 1, 1, 16, 64)
    early[:, :, 4:6, 12:20] = late[:, :, 4:6, 40:48] = higher[:, :, 8:10, 12:20] = 1

    torch.testing.assert_close(network(early), network(late))
    assert not torch.allclose(network(early), network(higher), atol=1e-4)


def test_a_sound_is_the_same_at_another_level():
    network, sound = network_for(1, 16, 64), torch.rand(1, 1, 16, 64)

    torch.testing.assert_close(network(sound), network(0.5 * sound + 0.25), atol=1e-3, rtol=1e-3)


def test_silence_has_logits():
    assert network_for(1, 16, 64)(torch.zeros(1, 1, 16, 64)).isfinite().all()


def test_one_sample_is_a_batch():
    """As the last one of an epoch may be."""
    network = network_for(1, 32, 44).train()

    assert network(torch.randn(1, 1, 32, 44)).isfinite().all()


@pytest.mark.parametrize(("shape", "named"), [((64,), "(64,)"), ((1, 32, 3), "32x3"), ((1, 3, 44), "3x44")], ids=str)
def test_inputs_that_it_cannot_take_are_refused(shape, named):
    with pytest.raises(ValueError, match="spectrogram network") as refusal:
        network_for(*shape)

    assert_readable(refusal.value, named, "[model]")
