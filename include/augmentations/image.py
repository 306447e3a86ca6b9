"""Small changes of images that keep their label valid. Pixels from outside an image repeat the nearest one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from include.augmentations.base import Augmentation

if TYPE_CHECKING:
    import torch

Share = Annotated[float, Field(gt=0, le=1)]


class ImageAugmentation(Augmentation):
    """Base for inputs (batch, channels, height, width)."""

    def check(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) != 3:
            raise ValueError(
                f"{self.kind} changes images (channels, height, width) and the format's inputs have shape "
                f"{input_shape}: remove it, or use a kind for such inputs"
            )


class Shift(ImageAugmentation):
    """Shift by up to `pixels` to the left or right, and up or down."""

    kind: Literal["image.shift"] = "image.shift"
    pixels: Annotated[int, Field(ge=1, le=1024)]

    def check(self, input_shape: tuple[int, ...]) -> None:
        super().check(input_shape)
        if self.pixels >= min(input_shape[1:]):
            raise ValueError(
                f"{self.kind} by {self.pixels} pixels would move images of {input_shape[1:]} out of the frame: "
                "set fewer pixels"
            )

    def apply(self, inputs: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn import functional

        height, width = inputs.shape[2:]
        padded = functional.pad(inputs, (self.pixels,) * 4, mode="replicate")
        corners = torch.randint(0, 2 * self.pixels + 1, (len(inputs), 2)).tolist()
        return torch.stack(
            [
                image[:, top : top + height, left : left + width]
                for image, (top, left) in zip(padded, corners, strict=True)
            ]
        )


class Flip(ImageAugmentation):
    """Mirror left and right in this share of the images; unsuited to writing and to objects with a handedness."""

    kind: Literal["image.flip"] = "image.flip"
    share: Share = 0.5

    def apply(self, inputs: torch.Tensor) -> torch.Tensor:
        import torch

        flipped = torch.rand(len(inputs), 1, 1, 1) < self.share
        return torch.where(flipped, inputs.flip(-1), inputs)


class Turn(ImageAugmentation):
    """Rotate about the centre by up to `degrees` either way, and scale by up to `scale` either way (0.1 for 10 %)."""

    kind: Literal["image.turn"] = "image.turn"
    degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    scale: Annotated[float, Field(ge=0, le=0.5)] = 0.1

    def apply(self, inputs: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn import functional

        height, width = inputs.shape[2:]
        drawn = torch.rand(len(inputs), 2) * 2 - 1
        angle, scale = math.radians(self.degrees) * drawn[:, 0], 1 + self.scale * drawn[:, 1]
        cosine, sine, zero = angle.cos() / scale, angle.sin() / scale, torch.zeros(len(inputs))
        # The grid goes from -1 to 1 along both sides, however long they are.
        rows = (cosine, -sine * height / width, zero, sine * width / height, cosine, zero)
        grid = functional.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(inputs.shape), align_corners=False)
        return functional.grid_sample(inputs, grid, padding_mode="border", align_corners=False)


class Light(ImageAugmentation):
    """Change the brightness by up to `brightness`, in units of the inputs, and the contrast by up to that share."""

    kind: Literal["image.light"] = "image.light"
    brightness: Annotated[float, Field(ge=0, le=10)] = 0.1
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.1

    def apply(self, inputs: torch.Tensor) -> torch.Tensor:
        import torch

        drawn = torch.rand(2, len(inputs), 1, 1, 1) * 2 - 1
        mean = inputs.mean(dim=(1, 2, 3), keepdim=True)
        return (inputs - mean) * (1 + self.contrast * drawn[0]) + mean + self.brightness * drawn[1]


class Noise(ImageAugmentation):
    """Add normally distributed noise of standard deviation `std`, in units of the inputs."""

    kind: Literal["image.noise"] = "image.noise"
    std: Annotated[float, Field(gt=0, le=10)] = 0.05

    def apply(self, inputs: torch.Tensor) -> torch.Tensor:
        import torch

        return inputs + self.std * torch.randn(inputs.shape)


class Erase(ImageAugmentation):
    """Fill a rectangle of up to `area` of the image with its mean (after Zhong et al., AAAI 2020, Random Erasing)."""

    kind: Literal["image.erase"] = "image.erase"
    share: Share = 0.5
    area: Share = 0.2

    def apply(self, inputs: torch.Tensor) -> torch.Tensor:
        import torch

        height, width = inputs.shape[2:]
        erased = inputs.clone()
        # Drawn for every image, so that the next batch's draws do not depend on which ones are chosen.
        for image, (chosen, area, shape, top, left) in zip(erased, torch.rand(len(inputs), 5).tolist(), strict=True):
            if chosen >= self.share:
                continue
            # Between three times as wide as high and three times as high as wide.
            proportion = 3 ** (2 * shape - 1)
            rows = min(height, max(1, round(height * math.sqrt(self.area * area * proportion))))
            columns = min(width, max(1, round(width * math.sqrt(self.area * area / proportion))))
            first, second = int(top * (height - rows + 1)), int(left * (width - columns + 1))
            image[:, first : first + rows, second : second + columns] = image.mean(dim=(1, 2), keepdim=True)
        return erased
