"""Predict requests of the past again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from include.definition.model_reference import CHAMPION
from include.errors import NothingToDo, PermanentError
from millrace.lineage import Lineage, model, topic
from millrace.operators.base import PipelineOperator, faults_of, is_true

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.prediction.repredict import RequestSelection


class RepredictRequestsOperator(PipelineOperator):
    """Predict requests of the past again with a version of choice, and publish the answers to the re-predictions.

    The same requests are answered once by each version, whichever run asks for it; see `include.prediction.repredict`.

    Skips when there are no such requests, or when other runs have all answered by that version already. An attempt that
    finds them answered by an earlier one of its run succeeds, with the run's event.

    Returns `predictions`, `refused` (by reason), `version` and `ranges`.

    Args:
        since, until: when the requests were written, `until` exclusive: times with a zone, as text or not.
        answered_by: the number of the version whose answers are to be given again.
        version: `champion`, or the number of a registered version.
        accept_lost: go on although retention has removed some of the requests.
    """

    step = "repredict"
    template_fields: Sequence[str] = (
        *PipelineOperator.template_fields,
        "since",
        "until",
        "answered_by",
        "version",
        "accept_lost",
    )

    def __init__(
        self,
        *,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        answered_by: int | str | None = None,
        version: str | int = CHAMPION,
        accept_lost: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.since = since
        self.until = until
        self.answered_by = answered_by
        self.version = version
        self.accept_lost = accept_lost

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        from include.prediction.predictor import load_predictor
        from include.prediction.repredict import repredict

        selection = self._selection(pipeline)
        predictor = load_predictor(connection, pipeline, str(self.version))
        attempt = self.attempt(context, pipeline, connection, "repredict", accept_lost=is_true(self.accept_lost))
        done = repredict(attempt, pipeline, selection, predictor)
        version = predictor.identity.version
        if not done.predictions and not done.same_run:
            raise NothingToDo(f"Version {version} answers no more requests {selection}: nothing was published.")
        result = {
            "predictions": done.predictions,
            "refused": dict(done.refused),
            "version": version,
            "ranges": [item.to_dict() for item in done.ranges],
        }
        self.attach_to_event(context, pipeline.repredictions_topic, result)
        self.lineage = Lineage(
            [topic(connection, pipeline.requests_topic, done.ranges), model(pipeline.name, version)],
            [topic(connection, pipeline.repredictions_topic, rows=done.predictions)],
            {"manifest": predictor.identity.manifest, "version": version},
        )
        return result

    def _selection(self, pipeline: Pipeline) -> RequestSelection:
        from pydantic import ValidationError

        from include.prediction.repredict import RequestSelection

        asked = {"since": self.since, "until": self.until, "answered_by": self.answered_by}
        given = {name: value for name, value in asked.items() if value is not None}
        if not given:
            raise PermanentError(
                f"All requests of {pipeline.name} would be predicted again: give a time since or until, or answered_by."
            )
        try:
            return RequestSelection.model_validate(given)
        except ValidationError as error:
            raise PermanentError(
                f"Requests of {pipeline.name} can't be predicted again as asked: {faults_of(error)}."
            ) from error
