"""Predict requests and publish the results exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from include.definition.model_reference import CHAMPION
from include.errors import NothingToDo
from include.kafka.ranges import OffsetRange
from millrace.lineage import Lineage, model, topic
from millrace.operators.base import PipelineOperator, is_true

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class PublishPredictionsOperator(PipelineOperator):
    """Predict the rest of the ranges, and publish results, dead letters, ledger and offsets in the same transactions.

    Skips when no model has been promoted yet (the requests wait), and when other runs have processed the ranges. An
    attempt that finds all of them processed by an earlier one of its run succeeds, with the run's event.
    Fails without a retry when a limit on dead letters is reached, and in every later run until one acknowledges it.

    While a champion predicts, one that is promoted meanwhile takes over with the next chunk. With `linger_s` of
    `[prediction]` the run goes on with what arrives, see `publish_predictions`.

    Returns `samples`, `predictions`, `dead_letters`, these by reason as `reasons`, the model's `version` at the
    beginning, and `versions`, the predictions by version; where the topic holds versions of rows, `superseded` and
    `deletions` too. Samples are the sum of the other counts, all of this attempt.

    To divide a run among mapped tasks, give each a set: `.partial(...).expand(ranges=freeze.output)` with a `divided`
    `FreezeRangesOperator`.

    With `[promotion] shadow`, the challenger answers a share of the requests beside the champion, see
    include.prediction.shadow; `shadowed` and `disagreements` are their counts.

    Args:
        ranges: frozen ranges of the requests topic, as `FreezeRangesOperator` returns them.
        version: `champion`, or the number of a registered version.
        accept_lost: go on although retention has removed requests that were never predicted.
        acknowledge: publish the dead letters that a limit has stopped, and end the hold.
    """

    step = "predict"
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ranges = ranges
        self.version = version
        self.accept_lost = accept_lost
        self.acknowledge = acknowledge

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        from include.prediction.predictor import load_predictor, newest_champion
        from include.prediction.publish import publish_predictions
        from include.prediction.shadow import newest_challenger

        predictor = load_predictor(connection, pipeline, str(self.version))
        # A fixed version is never replaced by a newer champion. Runs with a fixed version, or with limits off, do not
        # linger.
        champion, acknowledge = str(self.version) == CHAMPION, is_true(self.acknowledge)
        # A challenger may have killed the attempt before, so a retry goes without one.
        retried = (instance := context.get("ti")) is not None and instance.try_number > 1
        shadowed = champion and pipeline.promotion.shadow > 0 and not retried
        published = publish_predictions(
            self.attempt(context, pipeline, connection, "predict", accept_lost=is_true(self.accept_lost)),
            pipeline,
            [OffsetRange(**item) for item in self.ranges],
            predictor,
            newest=partial(newest_champion, connection, pipeline) if champion else None,
            challenger=partial(newest_challenger, connection, pipeline) if shadowed else None,
            linger_s=pipeline.prediction.linger_s if champion and not acknowledge else 0.0,
            acknowledge=acknowledge,
        )
        result = {
            "samples": published.samples,
            "predictions": published.predictions,
            "dead_letters": published.rejected,
            "reasons": dict(published.dead_letters),
            "version": predictor.identity.version,
            "versions": {str(number): count for number, count in published.versions.items()},
        }
        if pipeline.promotion.shadow:
            agreed = published.shadowed
            result |= {"shadowed": agreed.requests, "disagreements": agreed.disagreed}
        if pipeline.record_layout(pipeline.requests_topic).envelope.row_name is not None:
            result |= {"superseded": published.superseded, "deletions": published.deletions}
        if not published.samples and not published.same_run:
            raise NothingToDo("Every request of the ranges is predicted already: nothing was published.")
        identity, ranges = predictor.identity, list(published.ranges.values())
        self.lineage = Lineage(
            [
                topic(connection, pipeline.requests_topic, ranges, published.samples),
                *(model(identity.name, number) for number in published.versions),
            ],
            [
                topic(connection, pipeline.predictions_topic, rows=published.predictions),
                topic(connection, pipeline.dead_letters_topic, rows=published.rejected),
            ],
            {"manifest": identity.manifest, "version": identity.version},
        )
        if published.predictions or published.same_run:
            self.attach_to_event(
                context,
                pipeline.predictions_topic,
                {**result, "ranges": [item.to_dict() for item in ranges]},
            )
        else:
            self.drop_outlet(pipeline.predictions_topic)
        return result
