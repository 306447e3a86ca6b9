"""A worker without transactions: the negative control, which the suite must catch at duplicating."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.exactly_once.ledger import LEDGER_TOPIC
from include.kafka.connection import KafkaConnection

if TYPE_CHECKING:
    from confluent_kafka import Producer


class AfterwardsProducer:
    """An idempotent producer with the face of a transactional one: results go out at once, and the position in the
    ledger follows when they have arrived.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._positions: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def init_transactions(self, _timeout: float) -> None:
        """There is nobody to fence."""

    def begin_transaction(self) -> None:
        self._positions.clear()

    def produce(self, topic: str, *arguments: Any, **keywords: Any) -> None:
        if topic == LEDGER_TOPIC:
            self._positions.append(((topic, *arguments), keywords))
        else:
            self._producer.produce(topic, *arguments, **keywords)

    def send_offsets_to_transaction(self, *_arguments: Any) -> None:
        """The ledger's position is the one that counts."""

    def commit_transaction(self, timeout: float) -> None:
        self.flush(timeout)
        for arguments, keywords in self._positions:
            self._producer.produce(*arguments, **keywords)
        self.flush(timeout)

    def flush(self, timeout: float) -> None:
        if left := self._producer.flush(timeout):
            raise TimeoutError(f"{left} records were not delivered within {timeout:g} s.")

    def poll(self, timeout: float) -> int:
        return self._producer.poll(timeout)


def commit_afterwards() -> None:
    """Give this process such producers wherever it would take transactional ones."""
    transactional = KafkaConnection.producer

    def producer(connection: KafkaConnection, **settings: Any) -> AfterwardsProducer:
        without = {name: value for name, value in settings.items() if not name.startswith("transaction")}
        return AfterwardsProducer(transactional(connection, **without))

    KafkaConnection.producer = producer  # type: ignore[method-assign, assignment]
