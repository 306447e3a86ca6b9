"""A batch through the network, which isolates the samples that the network fails at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from include.errors import MillraceError, one_line

if TYPE_CHECKING:
    import torch
    from torch import nn

Result = TypeVar("Result")


class NetworkFailed(MillraceError):
    """The network fails, and no sample of the batch is to blame."""


def forward(
    network: nn.Module, inputs: torch.Tensor, read: Callable[[torch.Tensor], list[Result]]
) -> list[Result | str]:
    """One result a sample: what is read of the network's outputs for it, or why the network fails at it.

    The failing samples are found by bisection. Outputs depend on the size of a batch, so the whole batch is then run
    again with a good sample in place of each failing one: the others get the same bits as in a batch of good samples.

    Args:
        network: in evaluation mode.
        inputs: float32 (batch, *input_shape); the batch is not empty.
        read: from outputs (batch, outputs) to a result a row; it raises where they are of another shape.

    Raises:
        NetworkFailed: there is no memory left, or the batch fails without the samples that fail alone, with zeros for
            every sample if need be.
    """
    try:
        return [*_results(network, inputs, read)]
    except Exception as error:  # noqa: BLE001 - a network may raise anything
        failures = _failing(network, inputs, error, read)
    good = next((row for row in range(len(inputs)) if row not in failures), None)
    substituted = inputs.clone()
    for row in failures:
        substituted[row] = 0 if good is None else inputs[good]
    try:
        return [failures.get(row, result) for row, result in enumerate(_results(network, substituted, read))]
    except Exception as error:
        raise _not_the_samples(error, len(inputs)) from error


def _failing(
    network: nn.Module, inputs: torch.Tensor, error: Exception, read: Callable[[torch.Tensor], list[Result]]
) -> dict[int, str]:
    """By row why the network fails at that sample alone; the inputs as a whole have failed with `error`."""
    if _lacks_memory(error):
        raise _not_the_samples(error, len(inputs)) from error
    if len(inputs) == 1:
        return {0: one_line(error)}
    found: dict[int, str] = {}
    middle = len(inputs) // 2
    for start, part in ((0, inputs[:middle]), (middle, inputs[middle:])):
        try:
            _results(network, part, read)
        except Exception as failure:  # noqa: BLE001 - a network may raise anything
            found.update({start + row: reason for row, reason in _failing(network, part, failure, read).items()})
    return found


def _results(network: nn.Module, inputs: torch.Tensor, read: Callable[[torch.Tensor], list[Result]]) -> list[Result]:
    import torch

    with torch.inference_mode():
        results = read(network(inputs))
    if len(results) != len(inputs):
        raise ValueError(f"the network has {len(results)} outputs for {len(inputs)} samples")
    return results


def _lacks_memory(error: Exception) -> bool:
    import torch

    # On the CPU torch raises a plain RuntimeError that names its allocator.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _not_the_samples(error: Exception, samples: int) -> NetworkFailed:
    return NetworkFailed(
        f"The network fails for a batch of {samples} samples, and not because of single ones ({one_line(error)}): "
        "give the worker what it lacks, or promote another version; nothing of this chunk was published."
    )
