"""Create a pipeline's topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.kafka.topics import ensure_topics
from millrace.operators.base import PipelineOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.kafka.connection import KafkaConnection
    from include.pipeline import Pipeline


class EnsureTopicsOperator(PipelineOperator):
    """Create the pipeline's topics and the ledger where they are missing; existing ones stay as they are.

    Returns `{"topics": {name: "created" | "exists"}}`.
    """

    def run_step(
        self,
        context: Context,  # noqa: ARG002
        pipeline: Pipeline,
        connection: KafkaConnection,
    ) -> dict[str, Any]:
        return {"topics": ensure_topics(connection, pipeline.topic_specs())}
