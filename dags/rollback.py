"""`<name>.rollback`: an earlier version becomes champion again when a person triggers it."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from millrace.assets import model_asset
from millrace.operators import RollBackModelOperator
from millrace.workflow import dag_settings, pipelines_for

DOCUMENTATION = """
**What it does.** Sets the champion back to a version that was promoted before. A running prediction uses it from its
next chunk on. The ledger keeps who triggered it and why.

**What the bad version wrote** is listed by `millrace predictions`; `<name>.repredict` answers it again.

**Run it again.** A second run for the same version skips.
"""

for pipeline in pipelines_for("rollback"):
    with DAG(
        **dag_settings(pipeline, "rollback", documentation=DOCUMENTATION),
        schedule=None,
        # It runs only when a person triggers it, and a run of a paused DAG would never start.
        is_paused_upon_creation=False,
        params={
            "version": Param(
                type="integer",
                minimum=1,
                title="Version",
                description="The number of the version that becomes champion again.",
            ),
            "why": Param(
                type="string",
                minLength=1,
                maxLength=1000,
                title="Why",
                description="What is wrong with the present champion. The ledger keeps it.",
            ),
        },
    ):
        RollBackModelOperator(
            task_id="roll_back_model",
            pipeline=pipeline.name,
            version="{{ params.version }}",
            why="{{ params.why }}",
            outlets=[model_asset(pipeline)],
        )
