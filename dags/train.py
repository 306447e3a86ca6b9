"""`<name>.train`: a model from the samples in Kafka, when enough of them are new."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, AssetOrTimeSchedule, Param

from include.definition.tables import MAX_NEW_SAMPLES
from millrace.assets import backlog_asset, model_asset, samples_asset, watch_asset
from millrace.operators import FreezeRangesOperator, PromoteModelOperator, TrainModelOperator
from millrace.workflow import cron, dag_settings, ensure_topics_before, pipelines_for, time_param

DOCUMENTATION = """
**What it does.** Freezes the offset ranges of the samples topic, trains a network on them, registers a model version
with its manifest, and makes it champion if the rules of `[promotion]` find it better than the present champion on the
same held-out samples. With `approval = "person"` it then waits for a person to approve that.

**Run it again.** The same ranges and settings give the same weights; a killed run resumes from its checkpoint.

**Skips** when fewer than `min_new_samples` samples are new; one is enough where a figure of the served model started
the run. A model that is not better is not promoted.
"""

for pipeline in pipelines_for("train"):
    training, promotion = pipeline.training, pipeline.promotion
    by_person = promotion.approval == "person"
    settings = dag_settings(pipeline, "train", documentation=DOCUMENTATION)
    if by_person:
        settings["dagrun_timeout"] += timedelta(seconds=promotion.approval_s)
    schedule: Any = [backlog_asset(pipeline, "train")] if training.schedule is None else cron(training.schedule)
    if pipeline.watch is not None and pipeline.watch.retrain:
        drifted = watch_asset(pipeline)
        schedule = (
            backlog_asset(pipeline, "train") | drifted
            if training.schedule is None
            else AssetOrTimeSchedule(timetable=cron(training.schedule), assets=[drifted])
        )
    with DAG(
        **settings,
        schedule=schedule,
        params={
            "epochs": Param(
                training.epochs,
                type="integer",
                minimum=1,
                maximum=10_000,
                title="Epochs",
                description="How many times the network sees each training sample.",
            ),
            "batch_size": Param(
                training.batch_size,
                type="integer",
                minimum=1,
                maximum=65_536,
                title="Batch size",
                description="Samples per optimizer step.",
            ),
            "learning_rate": Param(
                training.learning_rate,
                type="number",
                exclusiveMinimum=0,
                maximum=1,
                title="Learning rate",
                description="The highest learning rate, reached after the warm-up.",
            ),
            "min_new_samples": Param(
                training.min_new_samples,
                type="integer",
                minimum=0,
                maximum=MAX_NEW_SAMPLES,
                title="New samples",
                description="How many samples must be new since the last training; 0 trains in any case.",
            ),
            "as_of": time_param(
                title="As of",
                description="Train on what the topic had at this time; a backfill does so for the end of its interval.",
            ),
        },
    ):
        ranges = FreezeRangesOperator(
            task_id="freeze_ranges",
            pipeline=pipeline.name,
            step="train",
            min_new_samples="{{ params.min_new_samples }}",
            as_of="{{ params.as_of }}",
            inlets=[samples_asset(pipeline)],
        )
        ensure_topics_before(pipeline, ranges)
        model = TrainModelOperator(
            task_id="train_model",
            pipeline=pipeline.name,
            ranges=ranges.output["ranges"],
            start=ranges.output["start"],
            as_of=ranges.output["as_of"],
            epochs="{{ params.epochs }}",
            batch_size="{{ params.batch_size }}",
            learning_rate="{{ params.learning_rate }}",
        )
        promote = PromoteModelOperator(
            task_id="promote_model",
            pipeline=pipeline.name,
            version=model.output["version"],
            approved=by_person,
            outlets=[model_asset(pipeline)],
        )
        if by_person:
            # Its import takes longer than reading the pipeline's file.
            from millrace.operators import ApproveModelOperator, CompareModelsOperator

            compared = CompareModelsOperator(
                task_id="compare_models", pipeline=pipeline.name, version=model.output["version"]
            )
            approve = ApproveModelOperator(
                task_id="approve_model",
                pipeline=pipeline.name,
                version=model.output["version"],
                champion_version=compared.output["champion_version"],
                subject=compared.output["subject"],
                body=compared.output["body"],
                approvers=promotion.approvers,
                approval_s=promotion.approval_s,
            )
            approve >> promote
