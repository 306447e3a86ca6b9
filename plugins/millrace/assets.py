"""The Airflow assets of a pipeline, whose events connect its DAGs."""

from __future__ import annotations

from airflow.sdk import Asset

from include.definition.pipeline import Pipeline


def samples_asset(pipeline: Pipeline) -> Asset:
    """Labelled samples in Kafka."""
    return Asset(name=pipeline.samples_topic, group="kafka")


def requests_asset(pipeline: Pipeline) -> Asset:
    """Requests, samples to predict, in Kafka."""
    return Asset(name=pipeline.requests_topic, group="kafka")


def predictions_asset(pipeline: Pipeline) -> Asset:
    """Published predictions, in Kafka."""
    return Asset(name=pipeline.predictions_topic, group="kafka")


def model_asset(pipeline: Pipeline) -> Asset:
    """The registered model's champion."""
    return Asset(name=f"{pipeline.name}.model", group="model")
