"""Records -> outcomes: each record of a chunk becomes an answer or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.codecs.base import Codec
from include.prediction.forward import forward
from include.reading.records import RecordReader, Records
from include.reading.row_versions import RowVersions, State
from include.refusal import Refusal
from include.targets.base import Answer, Target

if TYPE_CHECKING:
    from confluent_kafka import Message
    from torch import nn

    from include.definition.pipeline import Pipeline
    from include.prediction.predictor import Predictor


FORWARD_SAMPLES = 512

# An answer, why there is none, or the state of a record that needs none.
RequestOutcome = Answer | Refusal | State


def answer_messages(
    pipeline: Pipeline,
    predictor: Predictor,
    reader: RecordReader,
    messages: Sequence[Message],
    versions: RowVersions | None,
) -> tuple[list[bytes], list[RequestOutcome]]:
    """The ids of the samples, and one outcome per message, in order.

    Args:
        versions: where the topic holds versions of rows, those of the messages.

    Raises:
        NetworkFailed: see `forward`.
    """
    records = reader.read(messages)
    states = [] if versions is None else [versions.of(message) for message in messages]
    codec = pipeline.format.with_statistics(predictor.statistics)
    return records.ids, answer(predictor.network, codec, predictor.target, records, states)


def answer(
    network: nn.Module,
    codec: Codec,
    target: Target,
    records: Records,
    states: Sequence[State] = (),
) -> list[RequestOutcome]:
    """One outcome per record, in order.

    Args:
        target: turns the network's outputs into answers.
        states: where the topic holds versions of rows, what each record is: a superseded one and a deletion need no
            answer, and their state is their outcome.

    Raises:
        NetworkFailed: see `forward`.
    """
    import torch

    outcomes: list[RequestOutcome | None] = [label if isinstance(label, Refusal) else None for label in records.labels]
    for position, state in enumerate(states):
        if state is not State.NEWEST:
            outcomes[position] = state
    readable = [position for position, outcome in enumerate(outcomes) if outcome is None]
    decoded = codec.decode([records.contents[position] for position in readable])
    for position, refusal in decoded.refusals.items():
        outcomes[readable[position]] = refusal
    inputs = torch.from_numpy(codec.to_inputs(decoded.samples))
    network.eval()
    for start in range(0, len(inputs), FORWARD_SAMPLES):
        rows = decoded.positions[start : start + FORWARD_SAMPLES]
        results = forward(network, inputs[start : start + FORWARD_SAMPLES], target.answers)
        for row, result in zip(rows, results, strict=True):
            outcomes[readable[row]] = _outcome(result)
    return [outcome for outcome in outcomes if outcome is not None]


def _outcome(result: Answer | str | None) -> Answer | Refusal:
    if isinstance(result, str):
        return Refusal("network-failed", f"The network fails at this sample: {result}.")
    if result is None:
        return Refusal("not-finite", "The network's output for this sample is not a finite number.")
    return result
