"""The hold: a limit that was exceeded stops the step, in all attempts and runs, until a person acknowledges it.

Without a hold, a retry or the next run would count from zero again, and drain a topic into dead letters one limit at a
time. The hold is an entry of the ledger. A run that acknowledges it adds its own id to the entry: that run alone, with
all of its tasks and attempts, may publish what stopped the step, and for all other runs the hold has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.errors import PermanentError
from include.kafka.ranges import OffsetRange

if TYPE_CHECKING:
    from include.prediction.limits import TooManyRejected

# The scope of the ledger's entry: one for the whole step, however its work is divided.
SCOPE = "hold"
ACKNOWLEDGED_BY = "acknowledged_by"


class StepHeld(PermanentError):
    """A limit was met before, and no run has acknowledged it."""


def hold_entry(refusal: TooManyRejected, refused: OffsetRange, run: str) -> dict[str, Any]:
    """The ledger entry of a limit that `run` met at the records of the range `refused`."""
    ((leading, _),) = refusal.reasons.most_common(1)
    return {
        "finding": refusal.finding,
        "leading": leading,
        "reasons": dict(refusal.reasons),
        "run": run,
        "range": refused.to_dict(),
    }


def acknowledged_entry(hold: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The ledger entry that ends the hold, and lets `run` publish beyond the limits."""
    return {**hold, ACKNOWLEDGED_BY: run}


def limits_are_off(hold: Mapping[str, Any] | None, pipeline: str, run: str, *, acknowledge: bool) -> bool:
    """Whether the run may publish beyond the limits.

    Args:
        acknowledge: the run was triggered to acknowledge a hold. It can't acknowledge one that it caused itself, which
            nobody knew of when the run was triggered.

    Raises:
        StepHeld: the run may publish nothing at all.
    """
    if hold is None:
        return False
    if ACKNOWLEDGED_BY in hold:
        return bool(hold[ACKNOWLEDGED_BY] == run)
    if acknowledge and hold["run"] != run:
        return True
    refused = OffsetRange.from_dict(hold["range"])
    raise StepHeld(
        f"The predictions of {pipeline} are held since {hold['run']} read offsets [{refused.start}, {refused.end}) "
        f"of partition {refused.partition}, where {hold['finding']} (most often {hold['leading']}): correct the "
        f'producer, then trigger {pipeline}.predict with "Acknowledge the hold", which publishes them as dead letters.'
    )
