"""The sides of a split that comes with the data, under all their usual names."""

from typing import Literal

GivenSide = Literal["train", "val", "test"]

SIDES: dict[str, GivenSide] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


def side_of(name: str) -> GivenSide | None:
    """The side that a name in any case stands for; None if it stands for none."""
    return SIDES.get(name.casefold())
