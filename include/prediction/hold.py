"""The hold: a limit that was met stops the step, all attempts and runs of it, until a person acknowledges it.

Without it a retry or the next run would count from zero again, and drain a topic into dead letters one limit at a time.
The hold is an entry of the ledger. A run that acknowledges it adds its own id to the entry: that run alone, all tasks
and attempts of it, may publish what stopped the step, and for all others there is no hold any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.errors import PermanentError
from include.exactly_once.ledger import LedgerKey
from include.kafka.ranges import OffsetRange

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.prediction.limits import TooManyRejected

ACKNOWLEDGED_BY = "acknowledged_by"


class StepHeld(PermanentError):
    """A limit was met before, and nobody has acknowledged it."""


def hold_key(connection: KafkaConnection, pipeline: str, step: str) -> LedgerKey:
    """Where the step's hold stands; one for the whole step, however its work is divided."""
    return LedgerKey(connection.environment, pipeline, step, "hold")


def hold_entry(refusal: TooManyRejected, refused: OffsetRange, run: str) -> dict[str, Any]:
    """A ledger entry: the limit that `run` met at the records of the range `refused`."""
    ((leading, _),) = refusal.reasons.most_common(1)
    return {
        "finding": refusal.finding,
        "leading": leading,
        "reasons": dict(refusal.reasons),
        "run": run,
        "range": refused.to_dict(),
    }


def acknowledged(hold: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The entry that takes the hold back, and lets `run` publish beyond the limits."""
    return {**hold, ACKNOWLEDGED_BY: run}


def limits_are_off(hold: Mapping[str, Any] | None, pipeline: str, run: str, *, acknowledge: bool) -> bool:
    """Whether the run may publish beyond the limits.

    Args:
        acknowledge: the run was asked to acknowledge a hold. One that it has met itself it must not: a person could not
            have known of it.

    Raises:
        Held: it may publish nothing at all.
    """
    if hold is None:
        return False
    if ACKNOWLEDGED_BY in hold:
        return bool(hold[ACKNOWLEDGED_BY] == run)
    if acknowledge and hold["run"] != run:
        return True
    refused = OffsetRange.from_dict(hold["range"])
    raise StepHeld(
        f"The predictions of {pipeline} are held since {hold['run']} came to offsets [{refused.start}, {refused.end}) "
        f"of partition {refused.partition}, where {hold['finding']} (most often {hold['leading']}): correct the "
        f'producer, then trigger {pipeline}.predict with "Acknowledge the hold", which publishes them as dead letters.'
    )
