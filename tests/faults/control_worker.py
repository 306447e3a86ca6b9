"""A worker without transactions: the negative control, whose duplicates the suite must find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.exactly_once.ledger import LEDGER_TOPIC
from include.kafka.connection import KafkaConnection

if TYPE_CHECKING:
    from confluent_kafka import Producer


class NonTransactionalProducer:
    """An idempotent producer with the interface of a transactional one.

    Results are sent at once, and the position in the ledger after their delivery.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._positions: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def init_transactions(self, _timeout: float) -> None:
        """Nothing to do: without transactions nothing is fenced."""

    def begin_transaction(self) -> None:
        self._positions.clear()

    def produce(self, topic: str, *arguments: Any, **keywords: Any) -> None:
        if topic == LEDGER_TOPIC:
            self._positions.append(((topic, *arguments), keywords))
        else:
            self._producer.produce(topic, *arguments, **keywords)

    def send_offsets_to_transaction(self, *_arguments: Any) -> None:
        """Nothing to do: prediction resumes from the ledger's position."""

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


def disable_transactions() -> None:
    """Replace the transactional producers of this process by `NonTransactionalProducer`."""
    transactional = KafkaConnection.producer

    def producer(connection: KafkaConnection, **settings: Any) -> NonTransactionalProducer:
        without = {name: value for name, value in settings.items() if not name.startswith("transaction")}
        return NonTransactionalProducer(transactional(connection, **without))

    KafkaConnection.producer = producer  # type: ignore[method-assign, assignment]
