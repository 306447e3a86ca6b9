"""What a model's inputs and answers were like on the held-out samples, for a comparison with those that it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from include.codecs.base import Codec
from include.kinds import Config
from include.network.histogram import Histogram, histogram_of
from include.targets.base import Answer, Target

if TYPE_CHECKING:
    import numpy as np
    import torch

# A histogram is made of this many samples. With more it would be no more exact than those that it is compared with.
MOST_SAMPLES = 20_000
# The statistics of all inputs together take 80 MB at most.
MOST_STATISTICS = 20_000_000
# Each number of an output becomes a Python object, so these are fewer.
MOST_OUTPUTS = 2_000_000
LABEL, SCORE, VALUE = "label", "score", "value"


class Reference(Config):
    """Histograms over the held-out samples, after the last epoch.

    Attributes:
        inputs: of the statistics of an input, see `Codec.describe`.
        answers: of `answer_numbers`.
    """

    inputs: tuple[Histogram, ...]
    answers: tuple[Histogram, ...]


class RowSampler:
    """Every n-th row of all that are added, with the smallest power of two that leaves at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[np.ndarray[Any, Any]] = []
        self._step = 1
        self._seen = self._count = 0

    def add(self, rows: np.ndarray[Any, Any]) -> None:
        import numpy as np

        kept = rows[-self._seen % self._step :: self._step]
        self._seen += len(rows)
        self._kept.append(kept)
        self._count += len(kept)
        while self._count > self._most:
            self._kept = [np.concatenate(self._kept)[::2]]
            self._count = len(self._kept[0])
            self._step *= 2

    def rows(self) -> np.ndarray[Any, Any]:
        """What was kept; there must have been rows."""
        import numpy as np

        return np.concatenate(self._kept)


class ReferenceFinder:
    """Collects the reference from batches; in the same order, the result is the same to the bit."""

    def __init__(self, codec: Codec, target: Target) -> None:
        self._codec = codec
        self._target = target
        self._inputs = RowSampler(_most(MOST_STATISTICS, len(codec.described)))
        self._outputs = RowSampler(_most(MOST_OUTPUTS, len(target.labels)))

    def add(self, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        """Add float32 inputs (n, *input_shape) and the network's outputs for them."""
        self._inputs.add(self._codec.describe(inputs.cpu().numpy()))
        self._outputs.add(outputs.cpu().numpy())

    def reference(self) -> Reference:
        """The reference, once there was a sample."""
        import torch

        statistics = self._inputs.rows()
        answers = self._target.answers(torch.from_numpy(self._outputs.rows()))
        numbers = answer_numbers(self._target, [answer for answer in answers if answer is not None])
        return Reference(
            inputs=tuple(histogram_of(name, statistics[:, at]) for at, name in enumerate(self._codec.described)),
            answers=tuple(
                label_histogram(self._target, found) if name == LABEL else histogram_of(name, found)
                for name, found in numbers.items()
            ),
        )


def _most(cells: int, columns: int) -> int:
    return max(1000, min(MOST_SAMPLES, cells // columns))


def answer_numbers(target: Target, answers: Sequence[Answer]) -> dict[str, np.ndarray[Any, Any]]:
    """What is compared of the answers, float64 (n,) by name.

    `label` has the places of their labels, `score` the probability of each answer's (highest) label, and of a
    regression each number is `value.<name>`. A sample without a label has the place behind the last one.
    """
    import numpy as np

    found: dict[str, list[float]] = {}
    if target.task == "regression":
        for name in target.labels:
            found[f"{VALUE}.{name}"] = [answer["values"].get(name, np.nan) for answer in answers]
    else:
        labels = [_labels(answer) for answer in answers]
        found[LABEL] = [place for names in labels for place in _places(target, names)]
        found[SCORE] = [_score(answer) for answer in answers]
    return {name: np.array(numbers, np.float64) for name, numbers in found.items()}


def label_histogram(target: Target, places: np.ndarray[Any, Any]) -> Histogram:
    """A bin for each label, and one for the samples without any."""
    edges = tuple(float(place) for place in range(len(target.labels)))
    empty = Histogram(name=LABEL, edges=edges, counts=(0,) * (len(edges) + 1))
    return empty.model_copy(update={"counts": empty.count(places)})


def _labels(answer: Mapping[str, Any]) -> Sequence[str]:
    return answer["labels"] if "labels" in answer else [answer["label"]]


def _places(target: Target, names: Sequence[str]) -> list[int]:
    places = [target.place_of(name) for name in names]
    return [place for place in places if place is not None] or [len(target.labels)]


def _score(answer: Mapping[str, Any]) -> float:
    return max(answer["scores"].values(), default=0.0) if "scores" in answer else answer["score"]
