"""A network for rows of a table: embeddings of the categories and a multilayer perceptron."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema  # noqa: TC002 - pydantic evaluates it

from include.kinds import Config
from include.models.base import ModelDefinition

if TYPE_CHECKING:
    import torch
    from torch import nn

# The code of a text that is not in the vocabulary, which has a zero vector until it is learnt.
UNKNOWN = 1


class RowInputs(Config):
    """The inputs of a row, numbers before codes; `codes` is how many codes a category has."""

    numbers: Annotated[int, Field(ge=0)]
    categories: Annotated[int, Field(ge=0)]
    codes: Annotated[int, Field(ge=1)]


class RowNet(ModelDefinition):
    """A vector for each category (Guo and Berkhahn, Entity Embeddings of Categorical Variables, 2016), beside the
    numbers, then hidden layers.

    Args:
        dimensions: of a category's vector.
        hidden: sizes of the hidden layers.
        inputs: those of the format, which the pipeline fills in.
    """

    kind: Literal["rows"] = "rows"
    dimensions: Annotated[int, Field(ge=1, le=4096)] = 8
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (64, 64)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25
    inputs: SkipJsonSchema[RowInputs | None] = None

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        inputs = self.inputs
        if inputs is None or input_shape != (inputs.numbers + inputs.categories,):
            raise ValueError(
                f"A network for rows takes the inputs of a [format] of kind 'row', and this one has shape "
                f"{input_shape}: choose another [model] kind."
            )
        width = inputs.numbers + inputs.categories * self.dimensions
        layers: list[nn.Module] = [_embedded(inputs, self.dimensions)]
        for size in self.hidden:
            layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(self.dropout)]
            width = size
        return nn.Sequential(*layers, nn.Linear(width, outputs))


def _embedded(inputs: RowInputs, dimensions: int) -> nn.Module:
    """Numbers as they are, and each code's vector: (batch, numbers + categories) to (batch, width)."""
    import torch
    from torch import nn

    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vectors = nn.ModuleList(_vectors(inputs.codes, dimensions) for _ in range(inputs.categories))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            codes = rows[:, inputs.numbers :].long()
            embedded = [vectors(codes[:, place]) for place, vectors in enumerate(self.vectors)]
            return torch.cat([rows[:, : inputs.numbers], *embedded], dim=1)

    return Embedded()


def _vectors(codes: int, dimensions: int) -> nn.Module:
    from torch import nn

    vectors = nn.Embedding(codes, dimensions)
    nn.init.normal_(vectors.weight, std=dimensions**-0.5)
    nn.init.zeros_(vectors.weight[UNKNOWN])
    return vectors
