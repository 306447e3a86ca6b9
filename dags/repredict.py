"""`<name>.repredict`: requests of the past, predicted again when a person triggers it."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from millrace.assets import repredictions_asset
from millrace.operators import EnsureTopicsOperator, RepredictRequestsOperator
from millrace.workflow import dag_settings, pipelines_for, time_param

DOCUMENTATION = """
**What it does.** Predicts requests of the past again with a version of choice: those of a period, those that another
version has answered, or both. The answers go to `<name>.repredictions`; predictions and dead letters stay as they are.

**Run it again.** The ledger has the progress by period and version: the same requests are answered once by each
version, whichever run asks for it, with the same bytes.

**Skips** when there are no such requests, or all of them are answered.
"""

for pipeline in pipelines_for("repredict"):
    with DAG(
        **dag_settings(pipeline, "repredict", documentation=DOCUMENTATION),
        schedule=None,
        # It runs only when a person triggers it, and a run of a paused DAG would never start.
        is_paused_upon_creation=False,
        params={
            "since": time_param(title="Since", description="Only requests that were written at this time or later."),
            "until": time_param(title="Until", description="Only requests that were written before this time."),
            "answered_by": Param(
                None,
                type=["null", "integer"],
                minimum=1,
                title="Answered by version",
                description="Only requests that this version has answered: a bad one, for instance, after a rollback.",
            ),
            "version": Param(
                "champion",
                type="string",
                pattern="^(champion|[1-9][0-9]*)$",
                title="Predict with version",
                description="`champion`, or the number of a registered version.",
            ),
            "accept_lost": Param(
                False,
                type="boolean",
                title="Accept lost requests",
                description="Go on although retention has removed some of the requests.",
            ),
        },
    ):
        topics = EnsureTopicsOperator(task_id="ensure_topics", pipeline=pipeline.name)
        again = RepredictRequestsOperator(
            task_id="repredict_requests",
            pipeline=pipeline.name,
            since="{{ params.since }}",
            until="{{ params.until }}",
            answered_by="{{ params.answered_by }}",
            version="{{ params.version }}",
            accept_lost="{{ params.accept_lost }}",
            outlets=[repredictions_asset(pipeline)],
        )
        topics >> again
