"""A pipeline small enough to compute by hand: four numbers in, the letter of the largest of the first three out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from include.definition.pipeline import Pipeline
from include.prediction.json_record import ModelIdentity
from include.sources.base import Source, SourceSample
from include.targets.classification import Classification

if TYPE_CHECKING:
    from include.prediction.predictor import Predictor
    from include.watching.model import WatchedModel

LETTERS = ("a", "b", "c")
SCHEMA = b"tensor.raw/1"
IDENTITY = ModelIdentity(name="tiny", version=7, digest="d" * 64, manifest="0123456789abcdef")


class Numbers(Source):
    """`total` samples of shape (4,) and dtype float32; another `shift` gives other contents for the same ids."""

    kind: Literal["numbers"] = "numbers"
    total: int = 100
    shift: int = 0

    def count(self) -> int:
        return self.total

    def read(self, start: int, count: int) -> list[SourceSample]:
        return [
            SourceSample(sample_id(position), numbers(position + self.shift), letter(numbers(position + self.shift)))
            for position in range(start, min(start + count, self.total))
        ]


def sample_id(position: int) -> str:
    return f"number-{position:04d}"


def numbers(position: int) -> np.ndarray[Any, Any]:
    """Sample `position`: float32 of shape (4,)."""
    return np.random.default_rng(position).normal(size=4).astype(np.float32)


def letter(sample: np.ndarray[Any, Any]) -> str:
    """The label that `tiny_predictor` predicts."""
    return LETTERS[int(sample[:3].argmax())]


def certainty(sample: np.ndarray[Any, Any]) -> float:
    """The softmax probability of that label, computed without torch."""
    powers = np.exp(sample[:3].astype(np.float64))
    return float(powers.max() / powers.sum())


def tiny_pipeline(name: str, *, total: int = 100, shift: int = 0, **tables: Any) -> Pipeline:
    """A pipeline over `Numbers`, unless `tables` has another source; one partition a topic by default.

    Args:
        tables: replace or add tables of its file.
    """
    values = {
        "name": name,
        "description": "Which of three numbers is the largest?",
        "format": {"kind": "tensor.raw", "shape": [4], "dtype": "float32"},
        "source": {"kind": "digits"},
        "model": {"kind": "convnet"},
        "topics": {"partitions": 1},
        "ingest": {"requests_share": 0.2},
        "training": {"labels": list(LETTERS)},
        **tables,
    }
    if tables.get("source", {}) is None:  # external topics
        del values["ingest"]
    pipeline = Pipeline.model_validate(values)
    return pipeline if "source" in tables else pipeline.model_copy(update={"source": Numbers(total=total, shift=shift)})


def tiny_predictor(name: str = IDENTITY.name, *, version: int = IDENTITY.version, bias: float = 0.0) -> Predictor:
    """A network whose outputs are the first three numbers themselves, as version 7 of a model.

    Args:
        bias: added to the first of them.
    """
    import torch
    from torch import nn

    from include.prediction.predictor import Predictor

    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3, 4))
        layer.bias.copy_(torch.tensor([bias, 0, 0]))
    identity = replace(IDENTITY, name=name, version=version)
    return Predictor(nn.Sequential(nn.Flatten(), layer), Classification(LETTERS), identity)


def tiny_challenger() -> Predictor:
    """One that answers more often with the first letter, as version 8."""
    return tiny_predictor(version=8, bias=0.5)


def tiny_watched(predictor: Predictor, samples: int = 1000) -> WatchedModel:
    """The predictor as a model that serves, with the reference of some samples."""
    import torch

    from include.codecs.raw import RawCodec
    from include.network.reference import ReferenceFinder
    from include.watching.model import WatchedModel

    codec = RawCodec(shape=(4,), dtype="float32")
    finder = ReferenceFinder(codec, predictor.target)
    inputs = torch.from_numpy(np.stack([numbers(position) for position in range(10_000, 10_000 + samples)]))
    with torch.inference_mode():
        finder.add(inputs, predictor.network(inputs))
    return WatchedModel(predictor.identity, codec, predictor.target, finder.reference())
