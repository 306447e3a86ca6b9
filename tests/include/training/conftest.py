"""Topics of labelled digits, filled once, and torch's global settings restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from include.exactly_once.ledger import ledger_topic
from include.kafka.topics import ensure_topics
from tests.support.digit_trainings import PARTITIONS, fill
from tests.support.torch_settings import restored_torch_settings

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection


@pytest.fixture(scope="session")
def new_images(kafka: KafkaConnection, new_topic: Callable[..., str]) -> Callable[[int], str]:
    """Creates a topic of this many labelled images, a fifth of them held out."""

    def make(samples: int) -> str:
        ensure_topics(kafka, [ledger_topic()])
        topic = new_topic(PARTITIONS)
        fill(kafka, topic, samples)
        return topic

    return make


@pytest.fixture(scope="session")
def images(new_images: Callable[[int], str]) -> str:
    """A topic of 400 labelled images that no test adds to."""
    return new_images(400)


@pytest.fixture(autouse=True)
def torch_settings() -> Iterator[None]:
    with restored_torch_settings():
        yield
