"""What each augmentation of images does to each sample, and that all draws come from torch's generator."""

from __future__ import annotations

import pytest
import torch

from include.augmentations.base import augmented
from include.augmentations.image import Erase, Flip, Light, Noise, Shift, Turn
from include.definition.kinds import KINDS

ALL = [Shift(pixels=2), Flip(), Turn(degrees=20), Light(), Noise(), Erase()]
every_kind = pytest.mark.parametrize("augmentation", ALL, ids=lambda item: item.kind)


@pytest.fixture(autouse=True)
def _deterministic():
    """As in training, where torch refuses an operation without a deterministic implementation."""
    before = torch.is_deterministic_algorithms_warn_only_enabled(), torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(1)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before[1], warn_only=before[0])


def ramp(samples=64, channels=3, height=12, width=10):
    """Brightness rises from left to right, equally in all samples, from a different start in each channel."""
    image = torch.linspace(0, 1, width).expand(channels, height, width) + torch.arange(channels).view(-1, 1, 1)
    return image.expand(samples, -1, -1, -1).contiguous()


def test_every_kind_for_images_is_tested():
    assert {item.kind for item in ALL} == {kind for kind in KINDS["augment"] if kind.startswith("image.")}


@every_kind
@pytest.mark.parametrize("channels", [1, 3])
def test_each_sample_changes_separately_and_keeps_its_shape(augmentation, channels):
    inputs = ramp(channels=channels)
    before = inputs.clone()

    changed = augmentation.apply(inputs)

    assert (changed.shape, changed.dtype) == (inputs.shape, torch.float32)
    assert torch.isfinite(changed).all()
    assert len(changed.flatten(1).unique(dim=0)) > 1
    assert torch.equal(inputs, before), "the given inputs are unchanged"


@every_kind
def test_the_same_state_of_the_generator_gives_the_same_samples(augmentation):
    torch.manual_seed(3)
    first = augmentation.apply(ramp())
    after = torch.rand(1)
    torch.manual_seed(3)

    assert torch.equal(augmentation.apply(ramp()), first)
    assert torch.equal(torch.rand(1), after)


@every_kind
def test_only_images_are_accepted(augmentation):
    augmentation.check((3, 12, 10))
    with pytest.raises(ValueError, match=rf"{augmentation.kind} changes images .* shape \(80,\): remove it"):
        augmentation.check((80,))


def test_a_shift_moves_by_whole_pixels_and_repeats_the_edge():
    inputs = ramp()

    moves = {tuple((image[0, 0] * 9).round().int().tolist()) for image in Shift(pixels=2).apply(inputs)}

    steps = list(range(10))
    assert moves == {
        (0, 0, *steps[:8]),
        (0, *steps[:9]),
        tuple(steps),
        (*steps[1:], 9),
        (*steps[2:], 9, 9),
    }


def test_a_flip_changes_left_and_right_in_its_share_of_the_images():
    inputs = ramp(1000)

    flipped = Flip(share=0.3).apply(inputs)

    same = torch.tensor([torch.equal(image, inputs[0]) for image in flipped])
    assert (flipped[~same] == inputs.flip(-1)[~same]).all()
    assert (~same).float().mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(("height", "width"), [(31, 31), (21, 41)])
def test_a_turn_keeps_angles_in_images_that_are_not_square(height, width):
    """A dot beside the centre keeps its distance from it, at any angle."""
    inputs = torch.zeros(200, 1, height, width)
    inputs[:, :, height // 2, width // 2 + 8] = 1

    for image in Turn(degrees=180, scale=0).apply(inputs)[:, 0]:
        rows, columns = torch.nonzero(image > 0.2, as_tuple=True)
        distances = torch.hypot(rows - height // 2 + 0.0, columns - width // 2 + 0.0)
        assert ((distances - 8).abs() < 1.2).all()


def test_light_changes_brightness_and_contrast_within_their_limits():
    inputs = torch.rand(500, 3, 8, 8)

    changed = Light(brightness=0.2, contrast=0.5).apply(inputs)

    brighter = changed.mean(dim=(1, 2, 3)) - inputs.mean(dim=(1, 2, 3))
    contrast = changed.flatten(1).std(dim=1) / inputs.flatten(1).std(dim=1)
    assert 0.18 < brighter.abs().max() < 0.2001
    assert (0.5 <= contrast.min() < 0.52, 1.48 < contrast.max() < 1.501) == (True, True)


def test_noise_has_the_configured_deviation():
    noise = Noise(std=0.3).apply(ramp(500)) - ramp(500)

    assert (noise.mean().item(), noise.std().item()) == pytest.approx((0, 0.3), abs=0.01)


def test_a_rectangle_of_limited_area_becomes_the_mean():
    inputs = torch.rand(300, 3, 20, 20)

    changed = Erase(share=0.5, area=0.3).apply(inputs) != inputs

    areas = changed.any(dim=1).float().mean(dim=(1, 2))
    assert (areas > 0).float().mean() == pytest.approx(0.5, abs=0.08)
    assert 0.2 < areas.max() <= 0.33, "but for what whole rows and columns round up"
    for picture in changed.any(dim=1)[areas > 0]:
        rows, columns = picture.any(dim=1).sum(), picture.any(dim=0).sum()
        assert picture.sum() == rows * columns


def test_augmentations_are_applied_in_order():
    torch.manual_seed(2)
    expected = Flip().apply(Shift(pixels=1).apply(ramp()))
    torch.manual_seed(2)

    assert torch.equal(augmented(ramp(), (Shift(pixels=1), Flip())), expected)
    assert torch.equal(augmented(ramp(), ()), ramp())
