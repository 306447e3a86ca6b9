"""The Airflow assets of a pipeline, whose events connect its DAGs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetWatcher

from include.definition.pipeline import Pipeline
from millrace.triggers import BacklogTrigger

DEFAULT_CONNECTION = "kafka_default"

if TYPE_CHECKING:
    from include.backlogs import BacklogStep


def samples_asset(pipeline: Pipeline) -> Asset:
    """Labelled samples in Kafka."""
    return _topic_asset(pipeline, pipeline.samples_topic)


def requests_asset(pipeline: Pipeline) -> Asset:
    """Requests, samples to predict, in Kafka."""
    return _topic_asset(pipeline, pipeline.requests_topic)


def predictions_asset(pipeline: Pipeline) -> Asset:
    """Published predictions, in Kafka."""
    return _topic_asset(pipeline, pipeline.predictions_topic)


def repredictions_asset(pipeline: Pipeline) -> Asset:
    """Requests that were predicted again, in Kafka."""
    return _topic_asset(pipeline, pipeline.repredictions_topic)


def _topic_asset(pipeline: Pipeline, topic: str) -> Asset:
    """A topic, by its name and the provider's URI, whose server is the Airflow connection: no file parser logs in.

    An external topic of another connection has that in its name: topics of two clusters may have the same name, and
    Airflow accepts no two assets of one name.
    """
    connection = pipeline.connection
    external = topic in pipeline.external_topics and connection != DEFAULT_CONNECTION
    name = f"{connection}/{topic}" if external else topic
    return Asset(name=name, uri=f"kafka://{connection}/{topic}", group="kafka")


def model_asset(pipeline: Pipeline) -> Asset:
    """The registered model's champion."""
    return Asset(name=f"{pipeline.name}.model", group="model")


def watch_asset(pipeline: Pipeline) -> Asset:
    """What was found about the served model; an event says that a figure is beyond its limit, and has the figures."""
    return Asset(name=f"{pipeline.name}.watch", group="model")


def backlog_asset(pipeline: Pipeline, step: BacklogStep) -> Asset:
    """What waits for a step; an event asks for a run. The triggerer watches it, see `BacklogTrigger`."""
    trigger = BacklogTrigger(pipeline=pipeline.name, step=step, kafka_conn_id=pipeline.connection_of(step))
    return Asset(
        name=f"{pipeline.name}.{step}.backlog",
        group="backlog",
        watchers=[AssetWatcher(name=f"{pipeline.name}.{step}", trigger=trigger)],
    )
