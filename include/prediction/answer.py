"""Records -> outcomes: every record of a chunk becomes an answer, or a rejection with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.kafka.dead_letters import Rejection
from include.prediction.forward import forward
from include.targets.base import Answer

if TYPE_CHECKING:
    from torch import nn

    from include.codecs.base import Codec
    from include.reading.records import Records
    from include.targets.base import Target

FORWARD_SAMPLES = 512


def answer(
    network: nn.Module,
    codec: Codec,
    target: Target,
    records: Records,
) -> list[Answer | Rejection]:
    """One outcome per record, in order.

    Args:
        target: what the network's outputs mean.

    Raises:
        NetworkFailed: see `forward`.
    """
    import torch

    outcomes: list[Answer | Rejection | None] = [
        None if told.fault is None else Rejection(*told.fault) for told in records.told
    ]
    readable = [position for position, outcome in enumerate(outcomes) if outcome is None]
    decoded = codec.decode([records.contents[position] for position in readable])
    for refusal in decoded.refusals:
        outcomes[readable[refusal.position]] = Rejection(refusal.reason, refusal.error)
    inputs = torch.from_numpy(codec.to_inputs(decoded.samples))
    network.eval()
    for start in range(0, len(inputs), FORWARD_SAMPLES):
        rows = decoded.positions[start : start + FORWARD_SAMPLES]
        results = forward(network, inputs[start : start + FORWARD_SAMPLES], target.answers)
        for row, result in zip(rows, results, strict=True):
            outcomes[readable[row]] = _outcome(result)
    return [outcome for outcome in outcomes if outcome is not None]


def _outcome(result: Answer | str | None) -> Answer | Rejection:
    if isinstance(result, str):
        return Rejection("network-failed", f"The network fails at this sample: {result}.")
    if result is None:
        return Rejection("not-finite", "The network's output for this sample is not a finite number.")
    return result
