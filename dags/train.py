"""`<name>.train`: a model from the samples in Kafka, when enough of them are new."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from millrace.assets import model_asset, samples_asset
from millrace.operators import FreezeRangesOperator, PromoteModelOperator, TrainModelOperator
from millrace.workflow import cron, dag_settings, ensure_topics_before, pipelines_for

DOCUMENTATION = """
**What it does.** Freezes the offset ranges of the samples topic, trains a network on them, registers a model version
with its manifest, and makes it champion if it reaches the floor and is better than the present champion on the same
held-out samples.

**Run it again.** The same ranges and settings give the same weights; a killed run resumes from its checkpoint.

**Skips** when fewer than `min_new_samples` samples are new. A model that is not better is not promoted.
"""

for pipeline in pipelines_for("train"):
    training = pipeline.training
    with DAG(
        **dag_settings(pipeline, "train", documentation=DOCUMENTATION),
        schedule=[samples_asset(pipeline)] if training.schedule is None else cron(training.schedule),
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
                maximum=1_000_000_000,
                title="New samples",
                description="How many samples must be new since the last training; 0 trains in any case.",
            ),
        },
    ):
        ranges = FreezeRangesOperator(
            task_id="freeze_ranges",
            pipeline=pipeline.name,
            step="train",
            min_new_samples="{{ params.min_new_samples }}",
            inlets=[samples_asset(pipeline)],
        )
        ensure_topics_before(pipeline, ranges)
        model = TrainModelOperator(
            task_id="train_model",
            pipeline=pipeline.name,
            ranges=ranges.output["ranges"],
            start=ranges.output["start"],
            epochs="{{ params.epochs }}",
            batch_size="{{ params.batch_size }}",
            learning_rate="{{ params.learning_rate }}",
        )
        PromoteModelOperator(
            task_id="promote_model",
            pipeline=pipeline.name,
            version=model.output["version"],
            outlets=[model_asset(pipeline)],
        )
