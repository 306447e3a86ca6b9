"""`<name>.watch`: drift, live score and calibration of the model that serves; for pipelines with a `[watch]`."""

from __future__ import annotations

from airflow.sdk import DAG

from millrace.assets import predictions_asset, watch_asset
from millrace.operators import WatchModelOperator
from millrace.workflow import cron, dag_settings, pipelines_for

DOCUMENTATION = """
**What it does.** Compares the newest requests and answers of the champion with the held-out samples of its training,
and its answers with the labels that have come since. A figure beyond its limit in `[watch]` raises one alert and one
event of the asset `<name>.watch`, and with `retrain = true` starts a training.

**Run it again.** The figures are computed anew from the topics each time: no label is counted twice.

**Skips** when nothing was promoted yet, or the champion has answered nothing.
"""

for pipeline in pipelines_for("watch"):
    if pipeline.watch is None:
        continue
    with DAG(
        **dag_settings(pipeline, "watch", documentation=DOCUMENTATION),
        schedule=cron(pipeline.watch.schedule),
    ):
        WatchModelOperator(
            task_id="watch_model",
            pipeline=pipeline.name,
            inlets=[predictions_asset(pipeline)],
            outlets=[watch_asset(pipeline)],
        )
