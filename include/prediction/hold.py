"""The hold: a limit that was exceeded stops the step, in all attempts and runs, until a person acknowledges it.

Without a hold, a retry or the next run would count from zero again, and drain a topic into dead letters one limit at a
time. The hold is an entry of the ledger. A run that acknowledges it adds its own id to the entry: that run alone, with
all of its tasks and attempts, may publish what stopped the step, and for all other runs the hold has ended.
"""

from enum import Enum, auto

from include.errors import PermanentError
from include.exactly_once.entries import HeldRange, Hold
from include.kafka.ranges import OffsetRange
from include.prediction.limits import TooManyRejected

# The scope of the ledger's entry: one for the whole step, however its work is divided.
SCOPE = "hold"


class StepHeld(PermanentError):
    """A limit was met before, and no run has acknowledged it."""

    def __init__(self, pipeline: str, hold: Hold) -> None:
        refused = hold.range
        super().__init__(
            f"The predictions of {pipeline} are held since {hold.run} read offsets [{refused.start}, {refused.end}) "
            f"of partition {refused.partition}, where {hold.finding} (most often {hold.leading}): correct the "
            f'producer, then trigger {pipeline}.predict with "Acknowledge the hold", which publishes them as dead '
            "letters."
        )


class Gate(Enum):
    """What a run may publish."""

    WITHIN_LIMITS = auto()
    WITHOUT_LIMITS = auto()
    NOTHING = auto()


def gate_of(hold: Hold | None, run: str, *, acknowledge: bool) -> Gate:
    """What a run may publish while there is this hold.

    Args:
        acknowledge: the run was triggered to acknowledge a hold. It can't acknowledge one that it caused itself, which
            nobody knew of when the run was triggered.
    """
    if hold is None:
        return Gate.WITHIN_LIMITS
    if hold.acknowledged_by:
        return Gate.WITHOUT_LIMITS if hold.acknowledged_by == run else Gate.WITHIN_LIMITS
    return Gate.WITHOUT_LIMITS if acknowledge and hold.run != run else Gate.NOTHING


def hold_at(refused: OffsetRange, refusal: TooManyRejected, run: str) -> Hold:
    """The hold for a limit that `run` met at the records of the range `refused`."""
    ((leading, _),) = refusal.reasons.most_common(1)
    return Hold(
        finding=refusal.finding,
        leading=leading,
        reasons=dict(refusal.reasons),
        run=run,
        range=HeldRange(**refused.to_dict()),
    )
