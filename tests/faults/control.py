"""The negative control: the same kills on a worker that commits its position after producing."""

from __future__ import annotations

from tests.faults.kills import (
    TASK,
    Kill,
    Tally,
    endure,
    enough_for,
    ground,
    prediction,
    random_instants,
    transaction_points,
)
from tests.faults.rows import Row, Setting


def run(setting: Setting) -> list[Row]:
    """Kill a worker without transactions as `tests.faults.kills` does; the counts must show duplicates."""
    draws, tally = setting.random("control"), Tally()
    points = transaction_points(draws, 3 if setting.short else 9)
    # At most of the drawn points and instants nothing is between delivery and position; here the records always are.
    points.append(Kill(draws.choice(TASK), "before commit", draws.randint(1, 3)))
    kills = points + random_instants(draws, 2 if setting.short else 10, TASK)
    with ground(setting) as (kafka, workers):
        setting.say(f"{len(kills)} kills of a worker without transactions")
        work = prediction(kafka, "control", pieces=enough_for(kills), control=True)
        endure(kafka, workers, work, kills, draws, tally)
    return [tally.row("control, which has to duplicate: position committed after producing, SIGKILL", control=True)]
