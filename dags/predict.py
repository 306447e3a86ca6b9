"""`<name>.predict`: predictions for the requests in Kafka, published exactly once."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from millrace.assets import backlog_asset, model_asset, predictions_asset, requests_asset
from millrace.operators import FreezeRangesOperator, PublishPredictionsOperator
from millrace.workflow import cron, dag_settings, ensure_topics_before, pipelines_for

DOCUMENTATION = """
**What it does.** Predicts every request that has no prediction yet and publishes the results as JSON, in transactions:
read them with `isolation.level=read_committed`. Requests that can't be predicted go to the dead letters.

**Holds** when too many requests would become dead letters: nothing more is published until a person triggers a run with
"Acknowledge the hold".

**Run it again.** The ledger has the progress, so a clear, a retry or a second run publishes nothing twice.

**Skips** when there are no new requests, or no model has been promoted yet (the requests wait).
"""

for pipeline in pipelines_for("predict"):
    schedule = pipeline.prediction.schedule
    with DAG(
        **dag_settings(pipeline, "predict", documentation=DOCUMENTATION),
        schedule=backlog_asset(pipeline, "predict") | model_asset(pipeline) if schedule is None else cron(schedule),
        params={
            "version": Param(
                "champion",
                type="string",
                pattern="^(champion|[1-9][0-9]*)$",
                title="Model version",
                description="`champion`, or the number of a registered version.",
            ),
            "accept_lost": Param(
                False,
                type="boolean",
                title="Accept lost requests",
                description="Go on although retention has removed requests that were never predicted.",
            ),
            "acknowledge": Param(
                False,
                type="boolean",
                title="Acknowledge the hold",
                description="After a limit on dead letters has stopped the predictions: publish these dead letters, "
                "without limits for this run, and let the next runs go on.",
            ),
        },
    ):
        ranges = FreezeRangesOperator(
            task_id="freeze_ranges",
            pipeline=pipeline.name,
            step="predict",
            version="{{ params.version }}",
            accept_lost="{{ params.accept_lost }}",
            divided=pipeline.prediction.tasks > 1,
            inlets=[requests_asset(pipeline)],
        )
        ensure_topics_before(pipeline, ranges)
        publishing = {
            "task_id": "publish_predictions",
            "pipeline": pipeline.name,
            "version": "{{ params.version }}",
            "accept_lost": "{{ params.accept_lost }}",
            "acknowledge": "{{ params.acknowledge }}",
            "inlets": [model_asset(pipeline)],
            "outlets": [predictions_asset(pipeline)],
            "pool": pipeline.prediction.pool,
        }
        if pipeline.prediction.tasks == 1:
            PublishPredictionsOperator(**publishing, ranges=ranges.output["ranges"])
        else:
            PublishPredictionsOperator.partial(**publishing).expand(ranges=ranges.output)
