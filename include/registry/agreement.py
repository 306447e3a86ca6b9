"""Agreement: how a challenger has answered requests beside the champion, which the ledger has by pair of versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from include.exactly_once.ledger import LedgerKey
from include.exactly_once.snapshot import snapshot_ledger_below

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

STEP = "shadow"
# Disagreements, of each partition the newest: an entry is small, and each chunk writes one.
KEPT = 20


@dataclass(frozen=True)
class Disagreement:
    """A request that both models were given and answered in different ways.

    Attributes:
        request: its address, `topic/partition/offset`.
        champion, challenger: the answers in a few words; why there is none, where the challenger has none.
    """

    request: str
    champion: str
    challenger: str


@dataclass(frozen=True)
class Agreement:
    """Counts over requests that the champion answered and the challenger was given, too.

    Attributes:
        agreed: those with the same answer, see `Target.compared`.
        refused: those that the challenger has no answer to.
        difference: the sum of how much higher the challenger's scores are, over the answers that it gave.
        disagreements: the last ones, at most `KEPT`.
    """

    requests: int = 0
    agreed: int = 0
    refused: int = 0
    difference: float = 0.0
    disagreements: tuple[Disagreement, ...] = ()

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.requests + other.requests,
            self.agreed + other.agreed,
            self.refused + other.refused,
            self.difference + other.difference,
            (self.disagreements + other.disagreements)[-KEPT:],
        )

    @classmethod
    def read(cls, entry: Mapping[str, Any] | None) -> Agreement:
        """What an entry of the ledger has; nothing where there is none."""
        if entry is None:
            return cls()
        counts = {name: entry[name] for name in ("requests", "agreed", "refused", "difference")}
        return cls(**counts, disagreements=tuple(Disagreement(**found) for found in entry["disagreements"]))

    def entry(self, run: str) -> dict[str, Any]:
        """What the ledger keeps."""
        return {**asdict(self), "disagreements": [asdict(found) for found in self.disagreements], "run": run}

    @property
    def disagreed(self) -> int:
        return self.requests - self.agreed

    @property
    def share(self) -> float:
        """Of the same answers, 0 to 1."""
        return self.agreed / max(self.requests, 1)

    @property
    def mean_difference(self) -> float:
        """How much higher the challenger's scores are on average; of numbers, in standard deviations."""
        return self.difference / max(self.requests - self.refused, 1)

    def __str__(self) -> str:
        refused = f", and has no answer to {self.refused:,}" if self.refused else ""
        return (
            f"answers {self.share:.2%} of {self.requests:,} requests as the champion does, with scores that are "
            f"{self.mean_difference:+.4f} higher on average{refused}"
        )


def pair_scope(champion: int, challenger: int) -> str:
    """The beginning of the scope of a pair's entries; the topic and the partition follow."""
    return f"{champion}-{challenger}"


def read_agreement(connection: KafkaConnection, name: str, champion: int, challenger: int) -> Agreement:
    """What the ledger has of a pair of versions, of all partitions.

    Raises:
        LedgerDamaged, ReaderStalled, TopicMissing: see `include.exactly_once.snapshot.snapshot_ledger_below`.
    """
    below = LedgerKey(connection.environment, name, STEP, pair_scope(champion, challenger))
    return sum(map(Agreement.read, dict(snapshot_ledger_below(connection, below)).values()), Agreement())
