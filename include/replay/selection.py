"""Which dead letters a run replays: by reason, by the time when they became dead letters, and how many at most."""

from typing import Annotated

from pydantic import Field

from include.definition.period import Period

MAX_NUMBER = 100_000
DEFAULT_NUMBER = 1000


class Selection(Period):
    """By default the first `DEFAULT_NUMBER` dead letters that can be replayed.

    Args:
        reasons: reason codes; empty for all.
        since, until: when the record became a dead letter, `until` exclusive; None for no limit.
        number: how many a run replays at most.
    """

    reasons: tuple[str, ...] = ()
    number: Annotated[int, Field(ge=1, le=MAX_NUMBER)] = DEFAULT_NUMBER

    def includes(self, reason: str, died_ms: int) -> bool:
        """Whether a dead letter of this reason and time, in milliseconds since the epoch, is selected."""
        return (
            (not self.reasons or reason in self.reasons)
            and (self.since is None or self.since.timestamp() * 1000 <= died_ms)
            and (self.until is None or died_ms < self.until.timestamp() * 1000)
        )
