"""An empty ledger is right for a new pipeline; for one that has published, it means that its memory was lost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from include.exactly_once.ledger import LEDGER_TOPIC
from include.exactly_once.progress import count_records
from include.kafka.errors import LedgerLost
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import describe_topics

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection


def refuse_new_ledger(connection: KafkaConnection, outputs: Iterable[str]) -> None:
    """Refuse to have a ledger made while a pipeline's outputs show that there was one.

    Args:
        outputs: topics that only steps with a ledger write to.

    Raises:
        LedgerLost: there is no ledger, and one of them holds records.
    """
    if LEDGER_TOPIC not in describe_topics(connection, [LEDGER_TOPIC]):
        _refuse_outputs(connection, outputs, "does not exist")


def refuse_lost_ledger(connection: KafkaConnection, topic: str, outputs: Iterable[str]) -> None:
    """Refuse to take all of a topic as new while a pipeline's outputs show that it was worked on.

    Args:
        topic: the ledger has no entry for any of its partitions.
        outputs: topics that only steps with a ledger write to.

    Raises:
        LedgerLost: one of them holds records.
    """
    _refuse_outputs(connection, outputs, f"has no entry of environment {connection.environment} for {topic}")


def _refuse_outputs(connection: KafkaConnection, outputs: Iterable[str], fault: str) -> None:
    for output in describe_topics(connection, outputs):
        group = f"{connection.environment}.{output}.count"
        # Offsets prove nothing: an attempt that was killed leaves aborted records and no entry.
        if count_records(connection, group, freeze_ranges(connection, output), enough=1):
            raise LedgerLost(
                f"The ledger topic {LEDGER_TOPIC} {fault} at {connection.bootstrap_servers}, but {output} holds what "
                "was published under an earlier one: an empty one would have all of it published again, so restore it, "
                f"delete {output} for a new beginning, or give the pipeline a new name."
            )
