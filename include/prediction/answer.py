"""Records -> outcomes: each record of a chunk becomes an answer or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.prediction.forward import forward
from include.reading.row_versions import State
from include.refusal import Refusal
from include.targets.base import Answer

if TYPE_CHECKING:
    from torch import nn

    from include.codecs.base import Codec
    from include.reading.records import Records
    from include.targets.base import Target

FORWARD_SAMPLES = 512

# An answer, why there is none, or the state of a record that needs none.
Outcome = Answer | Refusal | State


def answer(
    network: nn.Module,
    codec: Codec,
    target: Target,
    records: Records,
    states: Sequence[State] = (),
) -> list[Outcome]:
    """One outcome per record, in order.

    Args:
        target: turns the network's outputs into answers.
        states: where the topic holds versions of rows, what each record is: a superseded one and a deletion need no
            answer, and their state is their outcome.

    Raises:
        NetworkFailed: see `forward`.
    """
    import torch

    outcomes: list[Outcome | None] = [label if isinstance(label, Refusal) else None for label in records.labels]
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
