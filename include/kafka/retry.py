"""Requests that fail for a moment, while one broker takes over from another."""

import time
from collections.abc import Callable, Collection
from typing import TypeVar

from include.kafka.connection import KafkaConnection
from include.kafka.topics import POLL_S

T = TypeVar("T")


def retried(connection: KafkaConnection, request: Callable[[], T], codes: Collection[int]) -> T:
    """Make a request until it fails with none of the error codes, or the connection's timeout is over."""
    from confluent_kafka import KafkaException

    deadline = time.monotonic() + connection.timeout_s
    while True:
        try:
            return request()
        except KafkaException as error:
            if error.args[0].code() not in codes or time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)
