"""Topics of handwriting, filled once, and torch's global settings put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.digit_trainings import PARTITIONS, fill

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection


@pytest.fixture(scope="session")
def new_images(kafka: KafkaConnection, new_topic: Callable[..., str]) -> Callable[[int], str]:
    """Makes a topic of so many labelled images, a fifth of them held out."""

    def make(samples: int) -> str:
        topic = new_topic(PARTITIONS)
        fill(kafka, topic, samples)
        return topic

    return make


@pytest.fixture(scope="session")
def images(new_images: Callable[[int], str]) -> str:
    """A topic of 400 labelled images that nobody adds to."""
    return new_images(400)


@pytest.fixture(autouse=True)
def torch_settings() -> Iterator[None]:
    """A loop that runs in the test's own process changes them for good."""
    import torch

    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)
