"""Predict requests and publish the results exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from include.errors import NothingToDo
from include.kafka.ranges import OffsetRange
from include.prediction.division import part_of
from millrace.operators.base import PipelineOperator, is_true

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class PublishPredictionsOperator(PipelineOperator):
    """Predict the rest of the ranges, and publish results, dead letters, ledger and offsets in the same transactions.

    Skips when no model has been promoted yet (the requests wait), and when other attempts have processed the ranges.
    Fails without a retry when a limit on dead letters is reached, and in every later run until one acknowledges it.

    Returns `samples`, `predictions`, `dead_letters`, these by reason as `reasons`, and the model's `version`; where the
    topic holds versions of rows, `superseded` and `deletions` too. Samples are the sum of the other counts, all of this
    attempt.

    To divide a run among mapped tasks, give each its number: `.partial(parts=4, ...).expand(part=[0, 1, 2, 3])`. A part
    without a partition skips.

    Args:
        ranges: frozen ranges of the requests topic, as `FreezeRangesOperator` returns them.
        version: `champion`, or the number of a registered version.
        accept_lost: go on although retention has removed requests that were never predicted.
        acknowledge: publish the dead letters that a limit has stopped, and end the hold.
        part, parts: the number of this part, from 0, and how many parts the ranges are divided into.
    """

    template_fields: Sequence[str] = (
        *PipelineOperator.template_fields,
        "ranges",
        "version",
        "accept_lost",
        "acknowledge",
    )

    def __init__(
        self,
        *,
        ranges: Sequence[Mapping[str, Any]],
        version: str | int = "champion",
        accept_lost: bool | str = False,
        acknowledge: bool | str = False,
        part: int = 0,
        parts: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ranges = ranges
        self.version = version
        self.accept_lost = accept_lost
        self.acknowledge = acknowledge
        self.part = part
        self.parts = parts

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        from include.prediction.predictor import load_predictor
        from include.prediction.publish import publish_predictions

        ranges = part_of([OffsetRange.from_dict(item) for item in self.ranges], self.part, self.parts)
        if not ranges:
            raise NothingToDo(f"Part {self.part} of {self.parts} has no partition to predict: there are fewer of them.")
        predictor = load_predictor(pipeline, str(self.version))
        published = publish_predictions(
            self.attempt(context, pipeline, connection, "predict", accept_lost=is_true(self.accept_lost)),
            pipeline,
            ranges,
            predictor,
            acknowledge=is_true(self.acknowledge),
        )
        result = {
            "samples": published.samples,
            "predictions": published.predictions,
            "dead_letters": published.rejected,
            "reasons": dict(published.dead_letters),
            "version": predictor.identity.version,
        }
        if pipeline.record_layout(pipeline.requests_topic).envelope.row_name is not None:
            result |= {"superseded": published.superseded, "deletions": published.deletions}
        if not published.samples:
            raise NothingToDo("Every request of the ranges is predicted already: nothing was published.")
        if published.predictions:
            self.attach_to_event(
                context, pipeline.predictions_topic, {**result, "ranges": [item.to_dict() for item in ranges]}
            )
        else:
            self.drop_outlet(pipeline.predictions_topic)
        return result
