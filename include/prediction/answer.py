"""Records -> outcomes: each record of a chunk becomes an answer or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from include.codecs.base import Codec
from include.prediction.forward import forward
from include.reading.records import RecordReader, Records
from include.reading.row_versions import RowState, RowVersions
from include.refusal import Refusal
from include.targets.base import Answer, Target

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from include.definition.pipeline import Pipeline
    from include.prediction.predictor import Predictor
    from include.prediction.requests import Requests


FORWARD_SAMPLES = 512

# An answer, why there is none, or the state of a record that needs none.
RequestOutcome = Answer | Refusal | RowState


@dataclass(frozen=True)
class Samples:
    """The samples of some records, decoded.

    Attributes:
        values: (n, *sample_shape), in the codec's dtype.
        positions: of their records, ascending.
        contents: of all the records.
    """

    values: np.ndarray[Any, Any]
    positions: list[int]
    contents: Sequence[bytes | None]


@dataclass(frozen=True)
class AnsweredRequests:
    """What was decided for some requests.

    Attributes:
        ids: of the samples, one for each request.
        outcomes: one for each request, in order.
        samples: those that the network was given.
    """

    ids: list[bytes]
    outcomes: list[RequestOutcome]
    samples: Samples


def answer_requests(
    pipeline: Pipeline,
    predictor: Predictor,
    reader: RecordReader,
    requests: Requests,
    versions: RowVersions | None,
) -> AnsweredRequests:
    """Read the requests, and predict those that need an answer.

    Args:
        versions: where the topic holds versions of rows, those of the requests.

    Raises:
        NetworkFailed: see `forward`.
    """
    records = requests.read(reader)
    states = [] if versions is None else [versions.at(requests.partition, offset) for offset in requests.offsets]
    codec = pipeline.format.with_statistics(predictor.statistics)
    top_k = pipeline.prediction.top_k
    outcomes, samples = _answer(predictor.network, codec, predictor.target, records, states, top_k)
    return AnsweredRequests(records.ids, outcomes, samples)


def answer(
    network: nn.Module,
    codec: Codec,
    target: Target,
    records: Records,
    states: Sequence[RowState] = (),
) -> list[RequestOutcome]:
    """One outcome per record, in order.

    Args:
        target: turns the network's outputs into answers.
        states: where the topic holds versions of rows, what each record is: a superseded one and a deletion need no
            answer, and their state is their outcome.

    Raises:
        NetworkFailed: see `forward`.
    """
    return _answer(network, codec, target, records, states)[0]


def predict(
    network: nn.Module, codec: Codec, target: Target, values: np.ndarray[Any, Any], top_k: int = 0
) -> list[Answer | Refusal]:
    """One outcome per sample.

    Args:
        values: samples (n, *sample_shape) as the codec decodes them.
        top_k: see `Target.answers`.

    Raises:
        NetworkFailed: see `forward`.
    """
    import torch

    batch = torch.from_numpy(codec.for_device(values))
    read = partial(target.answers, top_k=top_k)
    network.eval()
    return [
        result if isinstance(result, dict) else _refusal(result)
        for start in range(0, len(batch), FORWARD_SAMPLES)
        for result in forward(network, codec.on_device(batch[start : start + FORWARD_SAMPLES]), read)
    ]


def _answer(
    network: nn.Module, codec: Codec, target: Target, records: Records, states: Sequence[RowState], top_k: int = 0
) -> tuple[list[RequestOutcome], Samples]:
    outcomes: list[RequestOutcome | None] = [label if isinstance(label, Refusal) else None for label in records.labels]
    for position, state in enumerate(states):
        if state is not RowState.NEWEST:
            outcomes[position] = state
    readable = [position for position, outcome in enumerate(outcomes) if outcome is None]
    contents = records.contents
    # Columns stay columns where all can be read.
    decoded = codec.decode(
        contents if len(readable) == len(contents) else [contents[position] for position in readable]
    )
    for position, refusal in decoded.refusals.items():
        outcomes[readable[position]] = refusal
    positions = [readable[row] for row in decoded.positions.tolist()]
    samples = Samples(decoded.samples, positions, contents)
    for position, result in zip(positions, predict(network, codec, target, samples.values, top_k), strict=True):
        outcomes[position] = result
    return [outcome for outcome in outcomes if outcome is not None], samples


def _refusal(failure: str | None) -> Refusal:
    if failure is None:
        return Refusal("not-finite", "The network's output for this sample is not a finite number.")
    return Refusal("network-failed", f"The network fails at this sample: {failure}.")
