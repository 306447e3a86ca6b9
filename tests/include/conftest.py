"""A connection to the real broker, and topics and pipelines for each test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from include.kafka.connection import KafkaConnection
from include.kafka.topics import TopicSpec, ensure_topics
from tests.support.tiny_pipelines import tiny_pipeline

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.local.broker import Cluster


@pytest.fixture(scope="session")
def kafka(broker: Cluster) -> KafkaConnection:
    return KafkaConnection({"bootstrap.servers": broker.bootstrap_servers}, timeout_s=10)


@pytest.fixture(scope="session")
def new_topic(kafka: KafkaConnection, new_name: Callable[[], str]) -> Callable[..., str]:
    """Creates an empty topic; keywords are its settings, with `_` for `.`."""

    def make(partitions: int = 1, **config: object) -> str:
        settings = {name.replace("_", "."): str(value) for name, value in config.items()}
        spec = TopicSpec(new_name(), partitions, config=settings)
        ensure_topics(kafka, [spec])
        return spec.name

    return make


@pytest.fixture(scope="session")
def new_pipeline(kafka: KafkaConnection, new_name: Callable[[], str]) -> Callable[..., Pipeline]:
    """Makes a tiny pipeline with a new name, and its topics; see `tests.support.tiny_pipelines.tiny_pipeline`."""

    def make(**settings: Any) -> Pipeline:
        pipeline = tiny_pipeline(new_name(), **settings)
        ensure_topics(kafka, pipeline.topic_specs())
        return pipeline

    return make
