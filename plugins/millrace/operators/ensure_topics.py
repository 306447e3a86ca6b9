"""Create a pipeline's own topics, and check that its external topics exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.exactly_once.lost_ledger import refuse_new_ledger
from include.kafka.topics import ensure_topics, refuse_missing, topic_setting
from millrace.operators.base import PipelineOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class EnsureTopicsOperator(PipelineOperator):
    """Create the pipeline's topics and the ledger if they are missing; existing ones are not changed.

    External topics are never created: if one is missing, the task fails and creates nothing.

    A missing ledger of a pipeline that has sent samples or published is an error: an empty one would have all of it
    sent and published again.

    Returns `{"topics": {name: "created" | "exists"}}`.
    """

    step = "topics"

    def run_step(
        self,
        context: Context,  # noqa: ARG002
        pipeline: Pipeline,
        connection: KafkaConnection,
    ) -> dict[str, Any]:
        refuse_missing(connection, pipeline.external_topics)
        outputs = [pipeline.predictions_topic, pipeline.dead_letters_topic]
        if pipeline.source is not None and pipeline.samples_topic not in pipeline.external_topics:
            outputs.append(pipeline.samples_topic)
        refuse_new_ledger(connection, outputs)
        requests = pipeline.topics.requests
        largest = 0 if requests is None else int(topic_setting(connection, requests, "max.message.bytes"))
        return {"topics": ensure_topics(connection, pipeline.topic_specs(largest))}
