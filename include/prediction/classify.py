"""Records -> outcomes: every record of a chunk becomes an answer, or a rejection with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from include.kafka.dead_letters import Rejection
from include.kafka.record import Headers, headers_of, read_headers
from include.prediction.forward import forward
from include.targets.base import Answer

if TYPE_CHECKING:
    from confluent_kafka import Message
    from torch import nn

    from include.codecs.base import Codec
    from include.kafka.signing import SigningKeys
    from include.targets.base import Target

FORWARD_SAMPLES = 512


def classify(
    network: nn.Module,
    codec: Codec,
    target: Target,
    messages: Sequence[Message],
    keys: SigningKeys | None = None,
) -> list[Answer | Rejection]:
    """One outcome per message, in order.

    Args:
        target: what the network's outputs mean.
        keys: where records are signed, the keys that a signature must be of.

    Raises:
        NetworkFailed: see `forward`.
    """
    import torch

    outcomes: list[Answer | Rejection | None] = [None] * len(messages)
    readable: list[int] = []

    # Headers repeat, and what is known of them is forgotten with the messages that hold them.
    @cache
    def refusal_of(headers: Headers) -> tuple[str, str] | None:
        return read_headers(headers).refusal(codec.schema_name)

    found = headers_of(messages)
    checked = [(headers, None) for headers in found] if keys is None else map(keys.verify, messages, found)
    for position, (headers, fault) in enumerate(checked):
        if fault is not None:
            outcomes[position] = fault
        elif refused := refusal_of(headers):
            outcomes[position] = Rejection(*refused)
        else:
            readable.append(position)
    decoded = codec.decode([messages[position].value() for position in readable])
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
