"""`<name>.ingest`: one batch of the source into Kafka every interval."""

from __future__ import annotations

from airflow.sdk import DAG, CronDataIntervalTimetable, Param

from millrace.assets import requests_asset, samples_asset
from millrace.operators import EnsureTopicsOperator, ProduceBatchOperator
from millrace.workflow import dag_settings, pipelines_for

DOCUMENTATION = """
**What it does.** Reads the next batch from the source and sends it to Kafka exactly once: labelled samples to one
topic, and a fixed share of them, without labels, to the topic of requests for predictions.

**Run it again.** A batch belongs to its data interval (a manual run is a batch of its own). You can clear or backfill
runs: the ledger records what was sent, and nothing is sent twice.

**Skips** when the source has nothing new.
"""

for pipeline in pipelines_for("ingest"):
    if pipeline.source is None:
        continue  # its topics are external
    outlets = (
        [samples_asset(pipeline)] if pipeline.topics.requests else [samples_asset(pipeline), requests_asset(pipeline)]
    )
    with DAG(
        **dag_settings(pipeline, "ingest", documentation=DOCUMENTATION),
        schedule=CronDataIntervalTimetable(pipeline.ingest.schedule, timezone="UTC"),
        params={
            "records": Param(
                pipeline.ingest.records,
                type="integer",
                minimum=1,
                maximum=1_000_000,
                title="Records per batch",
                description="How many samples a new batch has.",
            ),
        },
    ):
        topics = EnsureTopicsOperator(task_id="ensure_topics", pipeline=pipeline.name)
        batch = ProduceBatchOperator(
            task_id="produce_batch",
            pipeline=pipeline.name,
            records="{{ params.records }}",
            outlets=outlets,
        )
        topics >> batch
