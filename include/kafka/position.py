"""The position of a consumed record in its partition's log: offset and leader epoch, never None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from confluent_kafka import Message

# Kafka's own number for it; the broker does not check it.
UNKNOWN_EPOCH = -1


def offset_of(message: Message) -> int:
    """The offset of a consumed record, or of an end-of-partition event; both always have one."""
    return cast("int", message.offset())


def leader_epoch_of(message: Message) -> int:
    """The epoch of the leader that wrote the record; `UNKNOWN_EPOCH` where the broker did not return it."""
    epoch = message.leader_epoch()
    return UNKNOWN_EPOCH if epoch is None else epoch


def leader_epoch_before(end: int, messages: Sequence[Message]) -> int:
    """The leader epoch of the record right before offset `end`, the last one of `messages`.

    It is `UNKNOWN_EPOCH` if a transaction marker or an aborted record is between: no reader gets their epoch.
    """
    if not messages or offset_of(messages[-1]) + 1 < end:
        return UNKNOWN_EPOCH
    return leader_epoch_of(messages[-1])
