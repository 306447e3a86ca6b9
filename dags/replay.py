"""`<name>.replay`: dead letters back to the requests, exactly once, when somebody asks for it."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from include.replay.selection import DEFAULT_NUMBER, MAX_NUMBER
from millrace.assets import requests_asset
from millrace.operators import ReplayDeadLettersOperator
from millrace.workflow import dag_settings, pipelines_for

DOCUMENTATION = """
**What it does.** Sends dead letters back to the requests as the records that they were; `<name>.predict` follows by
itself. Choose them by reason, by the time at which they became dead letters, and how many at most. Do it when what was
wrong is mended: they die again otherwise.

**Run it again.** The ledger remembers each dead letter, so that none is replayed twice. A retry or a clear goes on with
the same run's number; for more, trigger a new run. What was replayed `prediction.max_replays` times stays dead.

**Skips** when there is nothing to replay.
"""

for pipeline in pipelines_for("replay"):
    if pipeline.topics.requests is not None:
        continue  # nothing is sent to a topic of others
    with DAG(
        **dag_settings(pipeline, "replay", documentation=DOCUMENTATION),
        schedule=None,
        # Nothing begins it but a person, who would wait in vain for the run of a paused DAG.
        is_paused_upon_creation=False,
        params={
            "reasons": Param(
                [],
                type="array",
                items={"type": "string", "minLength": 1},
                title="Reasons",
                description="Reason codes, one a line, such as `wrong-schema` or `wrong-size` (a dead letter has its "
                "own in the header `dead-letter-reason`); none for all.",
            ),
            "since": Param(
                None,
                type=["null", "string"],
                format="date-time",
                title="Since",
                description="Only what became a dead letter at this time or later.",
            ),
            "until": Param(
                None,
                type=["null", "string"],
                format="date-time",
                title="Until",
                description="Only what became a dead letter before this time.",
            ),
            "number": Param(
                DEFAULT_NUMBER,
                type="integer",
                minimum=1,
                maximum=MAX_NUMBER,
                title="Number",
                description="How many dead letters the run replays at most, the oldest of each partition first.",
            ),
        },
    ):
        ReplayDeadLettersOperator(
            task_id="replay_dead_letters",
            pipeline=pipeline.name,
            reasons="{{ params.reasons }}",
            since="{{ params.since }}",
            until="{{ params.until }}",
            number="{{ params.number }}",
            outlets=[requests_asset(pipeline)],
        )
