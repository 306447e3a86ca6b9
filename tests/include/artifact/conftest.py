"""A model that was trained for a second, as files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from include.artifact.result import TrainingResult
from include.training.loop import train
from include.training.result import store_result
from tests.support.digit_trainings import PARTITIONS, fill, job_over

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob


@pytest.fixture(scope="session")
def job(kafka: KafkaConnection, new_topic: Callable[..., str]) -> TrainingJob:
    topic = new_topic(PARTITIONS)
    fill(kafka, topic, 300)
    return job_over(kafka, topic, epochs=1)


@pytest.fixture(scope="session")
def good(kafka: KafkaConnection, job: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    directory = tmp_path_factory.mktemp("good")
    return store_result(directory, job, "good", train(job, kafka, directory))
