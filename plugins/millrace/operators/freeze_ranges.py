"""Decide which offsets a run works on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from include.errors import PermanentError
from millrace.assets import watch_asset
from millrace.lineage import Lineage, topics
from millrace.operators.base import PipelineOperator, is_true

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class FreezeRangesOperator(PipelineOperator):
    """Freeze a topic's partitions at their last stable offset, and skip when too few records are new.

    For `train` these are all samples that the topic has, or for an incremental training those that came since the
    champion's and a share of older ones; see `include.training.backlog`. For `predict` they are the requests that have
    no prediction; see `include.prediction.backlog`. The ledger says what is new, so one run takes a backlog of any
    size, and after a lost event the next one starts a run over all of it.

    Returns `ranges` (a list of topic, topic id, partition, start, end) and `new_samples`; for `train` `as_of` and
    `start`, what `training.start_from` stands for; for `predict` `sets`, the ranges divided among mapped tasks.
    `new_samples` is the count, or a text such as `at least 1200`: counting ends when there are more than were asked
    for.

    Args:
        step: `train` or `predict`.
        min_new_samples: how many of the samples must be new; the pipeline's own for `train`, 1 for `predict`. For a run
            that a figure of the served model has started, one is enough.
        as_of: for `train`, a time with a zone, as text or not: the ranges are those of that time, however few samples
            were new then. In a backfill it is the end of the run's data interval by default.
        version: for `predict`, the model version of the run, which skips where it is `champion` and there is none.
        accept_lost: for `predict`, go on although retention has removed requests that were never predicted.
        divided: for `predict`, return `sets` alone, so that tasks can be mapped over them.
    """

    template_fields: Sequence[str] = (
        *PipelineOperator.template_fields,
        "min_new_samples",
        "as_of",
        "version",
        "accept_lost",
    )

    def __init__(
        self,
        *,
        step: Literal["train", "predict"],
        min_new_samples: int | str | None = None,
        as_of: datetime | str | None = None,
        version: str | int | None = None,
        accept_lost: bool | str = False,
        divided: bool = False,
        **kwargs: Any,
    ) -> None:
        # Airflow maps tasks over a task's whole result, and not over one of several.
        super().__init__(**{"multiple_outputs": not divided, **kwargs})
        self.divided = divided
        self.step = step
        self.min_new_samples = min_new_samples
        self.as_of = as_of
        self.version = version
        self.accept_lost = accept_lost

    def execute(self, context: Context) -> Any:
        """Run the step; returns its result, or the sets alone."""
        result = super().execute(context)
        return result["sets"] if self.divided else result

    def run_step(
        self,
        context: Context,
        pipeline: Pipeline,
        connection: KafkaConnection,
    ) -> dict[str, Any]:
        wanted = None if self.min_new_samples is None else int(self.min_new_samples)
        if self.step == "train":
            from include.training.backlog import freeze_training

            as_of = self._as_of(context, pipeline)
            if _asked_by(context, watch_asset(pipeline).name) and wanted:
                wanted = 1
            training = freeze_training(connection, pipeline, min_new_samples=wanted, as_of=as_of, metrics=self.metrics)
            self.lineage = Lineage(topics(connection, training.ranges))
            return {
                "as_of": as_of and as_of.isoformat(),
                "ranges": [item.to_dict() for item in training.ranges],
                "new_samples": _shown(training.new_samples, counted_all=training.counted_all),
                "start": training.initial_weights and training.initial_weights.model_dump(mode="json"),
            }
        from include.planning.preflight import before_prediction
        from include.prediction.backlog import freeze_requests
        from include.prediction.predictor import refuse_without_champion

        requests = freeze_requests(
            connection,
            pipeline,
            min_new_requests=1 if wanted is None else wanted,
            accept_lost=is_true(self.accept_lost),
            metrics=self.metrics,
        )
        refuse_without_champion(pipeline, str(self.version))
        before_prediction(connection, pipeline)
        self.lineage = Lineage(topics(connection, requests.ranges))
        return {
            "ranges": [item.to_dict() for item in requests.ranges],
            "sets": [[item.to_dict() for item in found] for found in requests.sets],
            "new_samples": _shown(requests.new_requests, counted_all=requests.counted_all),
        }

    def _as_of(self, context: Context, pipeline: Pipeline) -> datetime | None:
        """The time to train for.

        Raises:
            PermanentError: it has no zone, or is no time.
        """
        from pydantic import AwareDatetime, TypeAdapter, ValidationError

        run = context["dag_run"]
        wanted = run.data_interval_end if self.as_of is None and run.run_type == "backfill" else self.as_of
        try:
            return TypeAdapter(AwareDatetime | None).validate_python(wanted)
        except ValidationError as error:
            raise PermanentError(
                f"{pipeline.name} can't be trained as of {wanted!r}: {error.errors()[0]['msg']}."
            ) from error


def _asked_by(context: Context, asset: str) -> bool:
    """Whether an event of the asset has started the run."""
    return any(getattr(key, "name", None) == asset for key in context.get("triggering_asset_events") or ())


def _shown(count: int, *, counted_all: bool) -> int | str:
    return count if counted_all else f"at least {count}"
