"""`<name>.replay`: dead letters back to the requests, exactly once, when a person triggers it."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from include.replay.selection import DEFAULT_NUMBER, MAX_NUMBER
from millrace.assets import requests_asset
from millrace.operators import ReplayDeadLettersOperator
from millrace.workflow import dag_settings, pipelines_for, time_param

DOCUMENTATION = """
**What it does.** Sends dead letters back to the requests as the original records; `<name>.predict` then runs by
itself. Select them by reason, by the time at which they became dead letters, and by a largest number. Correct the cause
first, or they become dead letters again.

**Run it again.** The ledger records each replayed dead letter, so that none is replayed twice. A retry or a clear
continues with the same run's number; for more, trigger a new run. A record that was replayed `prediction.max_replays`
times is not replayed again.

**Skips** when there is nothing to replay.
"""

for pipeline in pipelines_for("replay"):
    if pipeline.topics.requests is not None:
        continue  # nothing is sent to an external topic
    with DAG(
        **dag_settings(pipeline, "replay", documentation=DOCUMENTATION),
        schedule=None,
        # It runs only when a person triggers it, and a run of a paused DAG would never start.
        is_paused_upon_creation=False,
        params={
            "reasons": Param(
                [],
                type="array",
                items={"type": "string", "minLength": 1},
                title="Reasons",
                description="Reason codes, one per line, such as `wrong-schema` or `wrong-size` (a dead letter has its "
                "own in the header `dead-letter-reason`); none for all.",
            ),
            "since": time_param(title="Since", description="Only what became a dead letter at this time or later."),
            "until": time_param(title="Until", description="Only what became a dead letter before this time."),
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
