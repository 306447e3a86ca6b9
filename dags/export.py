"""`<name>.export`: predictions to Parquet files, exactly once; for pipelines with an `[export]`."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from millrace.operators import EnsureTopicsOperator, ExportPredictionsOperator
from millrace.workflow import cron, dag_settings, pipelines_for

DOCUMENTATION = """
**What it does.** Writes the predictions that no run has written yet to Parquet files, in one folder per day
(`day=2026-11-24`, the day in UTC on which a prediction was published), for pandas, DuckDB and similar tools.

**Run it again.** The ledger has the progress, and a file's name says which records it contains: a clear, a retry or a
second run writes no row twice.

**Skips** when there are no new predictions.
"""

for pipeline in pipelines_for("export"):
    if pipeline.export is None:
        continue
    with DAG(
        **dag_settings(pipeline, "export", documentation=DOCUMENTATION),
        schedule=cron(pipeline.export.schedule),
        params={
            "accept_lost": Param(
                False,
                type="boolean",
                title="Accept lost predictions",
                description="Go on although retention has removed predictions that were never written.",
            ),
        },
    ):
        topics = EnsureTopicsOperator(task_id="ensure_topics", pipeline=pipeline.name)
        export = ExportPredictionsOperator(
            task_id="export_predictions",
            pipeline=pipeline.name,
            accept_lost="{{ params.accept_lost }}",
        )
        topics >> export
