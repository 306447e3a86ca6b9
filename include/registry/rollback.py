"""Rollback: a person sets the champion back to a version that was promoted before, and the ledger keeps who and why."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

from include.errors import NothingToDo, PermanentError
from include.exactly_once.ledger import LedgerKey
from include.kafka.connection import KafkaConnection
from include.registry.record import model_writer, require_recorded
from include.registry.tracking import Registry
from include.registry.versions import champion, set_champion, version

log = logging.getLogger(__name__)

STEP = "rollback"


class NeverPromoted(PermanentError):
    """The version was never champion, so that nothing has shown that it is good enough."""


@dataclass(frozen=True)
class Rollback:
    """What was decided.

    Attributes:
        version: the champion from then on.
        before: the one before; None if there was none.
        why: in words.
        by: the name of the person.
    """

    version: int
    before: int | None
    why: str
    by: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def roll_back(
    connection: KafkaConnection, registry: Registry, name: str, number: int, *, why: str, by: str, run: str
) -> Rollback:
    """Make version `number` champion again; running predictions use it from their next chunk on.

    The decision is written to the ledger before the alias moves. Another attempt of the same run returns it again.

    Args:
        run: the run's id, under which the ledger keeps the decision.

    Raises:
        NothingToDo: the version is champion.
        NeverPromoted: it never was.
        NoSuchVersion, WrongModel, RegistryUnavailable: see include.registry.
    """
    chosen = version(registry, name, number)
    if not require_recorded(connection, chosen, promoted=False):
        raise NeverPromoted(
            f"Version {number} of {name} was never champion, so a rollback can't lead to it: choose one that was, or "
            f"let {name}.train compare it with the champion and promote it."
        )
    holder = champion(registry, name)
    key = LedgerKey(connection.environment, name, STEP, run)
    with model_writer(connection, name) as writer:
        if (entry := writer.read_ledger([key]).get(key)) is not None:
            decided = Rollback(**entry)
        elif holder == chosen:
            raise NothingToDo(f"Version {number} of {name} is champion already.")
        else:
            decided = Rollback(number, None if holder is None else holder.number, why, by)
            with writer.transaction():
                writer.write_ledger(key, decided.to_dict())
    set_champion(registry, chosen)
    log.info("Version %d of %s is champion again, by %s: %s", number, name, decided.by, decided.why)
    return decided
