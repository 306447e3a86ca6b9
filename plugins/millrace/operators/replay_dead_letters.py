"""Send dead letters back to the requests exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from include.errors import NothingToDo, PermanentError
from include.replay.replay import ReplayReport, replay_dead_letters
from include.replay.selection import Selection
from millrace.lineage import Lineage, topic
from millrace.operators.base import PipelineOperator, faults_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class ReplayDeadLettersOperator(PipelineOperator):
    """Replay dead letters: send the original records, unchanged, to the requests topic again.

    The ledger records each replayed dead letter, so that neither a retry nor another run replays it again, and all
    attempts of a run count towards one `number`. A record that was replayed `prediction.max_replays` times is not
    replayed again.

    Skips when nothing was replayed.

    Returns `selected` (= `replayed` + `already_replayed` + `stay_dead`), `replayed` (by this run, all attempts),
    `replayed_now` (by this attempt), `already_replayed` (by other runs) and `stay_dead` (by reason).

    Args:
        reasons: reason codes; all by default.
        since, until: when the record became a dead letter, `until` exclusive: times with a zone, as text or not.
        number: how many are replayed at most.
    """

    step = "replay"
    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "reasons", "since", "until", "number")

    def __init__(
        self,
        *,
        reasons: Sequence[str] | str = (),
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        number: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reasons = reasons
        self.since = since
        self.until = until
        self.number = number

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        attempt = self.attempt(context, pipeline, connection, "replay")
        done = replay_dead_letters(attempt, pipeline, self._selection(pipeline))
        if not done.replayed:
            raise NothingToDo(_nothing(pipeline, done))
        result = {
            "selected": done.selected,
            "replayed": done.replayed,
            "replayed_now": done.replayed_now,
            "already_replayed": done.already_replayed,
            "stay_dead": dict(done.stay_dead),
        }
        self.attach_to_event(context, pipeline.requests_topic, result)
        self.lineage = Lineage(
            [topic(connection, pipeline.dead_letters_topic, rows=done.selected)],
            [topic(connection, pipeline.requests_topic, rows=done.replayed_now)],
        )
        return result

    def _selection(self, pipeline: Pipeline) -> Selection:
        asked = {"reasons": self.reasons, "since": self.since, "until": self.until, "number": self.number}
        try:
            return Selection.model_validate({name: value for name, value in asked.items() if value is not None})
        except ValidationError as error:
            raise PermanentError(
                f"The dead letters of {pipeline.name} can't be replayed as asked: {faults_of(error)}."
            ) from error


def _nothing(pipeline: Pipeline, done: ReplayReport) -> str:
    if not done.selected:
        return f"{pipeline.dead_letters_topic} has no dead letter of these reasons and times: nothing was replayed."
    reasons = ", ".join(f"{count} {reason}" for reason, count in done.stay_dead.most_common())
    return (
        f"None of the {done.selected} selected dead letters of {pipeline.dead_letters_topic} was replayed: "
        f"{done.already_replayed} were replayed by earlier runs and {done.stay_dead.total()} stay dead"
        f"{f' ({reasons})' if reasons else ''}."
    )
