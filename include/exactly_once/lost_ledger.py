"""Distinguish a new pipeline, whose ledger is empty, from one that has published and whose ledger is lost."""

from collections.abc import Iterable

from include.exactly_once.attempt import consumer_group
from include.exactly_once.ledger import ledger_name
from include.exactly_once.progress import count_records
from include.kafka.connection import KafkaConnection
from include.kafka.environment import in_environment
from include.kafka.errors import LedgerLost
from include.kafka.ranges import freeze_ranges, log_ends
from include.kafka.topics import describe_topics


def refuse_new_ledger(connection: KafkaConnection, outputs: Iterable[str]) -> None:
    """Refuse to create a ledger for a pipeline whose outputs show that it had one.

    Args:
        outputs: topics that only steps with a ledger write to.

    Raises:
        LedgerLost: there is no ledger, and one of the outputs holds records.
    """
    ledger = ledger_name(connection.environment)
    if ledger not in describe_topics(connection, [ledger]):
        _refuse_outputs(connection, outputs, "does not exist")


def refuse_lost_ledger(connection: KafkaConnection, topic: str, outputs: Iterable[str]) -> None:
    """Refuse to take a whole topic as new for a pipeline whose outputs show that it has processed some of it.

    Args:
        topic: the ledger has no entry for any of its partitions.
        outputs: topics that only steps with a ledger write to.

    Raises:
        LedgerLost: one of the outputs holds records.
    """
    _refuse_outputs(connection, outputs, f"has no entry of environment {connection.environment} for {topic}")


def _refuse_outputs(connection: KafkaConnection, outputs: Iterable[str], fault: str) -> None:
    ledger = ledger_name(connection.environment)
    for output, (_, ends) in log_ends(connection, outputs).items():
        if not any(ends.values()):
            continue
        # A topic's name has the environment already.
        name = output.removeprefix(in_environment(connection.environment, ""))
        group = consumer_group(connection.environment, name, "count")
        # Offsets prove nothing: a killed attempt leaves aborted records and no entry.
        if count_records(connection, group, freeze_ranges(connection, output), enough=1):
            raise LedgerLost(
                f"The ledger topic {ledger} {fault} at {connection.bootstrap_servers}, but {output} holds "
                "records that were written under an earlier ledger, and an empty one would write them again: restore "
                "the ledger, delete all topics of the pipeline to start over, or give the pipeline a new name."
            )
