"""Decide which offsets a run works on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

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

    Returns `ranges` (a list of topic, topic id, partition, start, end), `new_samples` (counted to the number that was
    asked for) and for `train` `start`, what `training.start_from` stands for.

    Args:
        step: `train` or `predict`.
        min_new_samples: how many of the samples must be new; the pipeline's own for `train`, 1 for `predict`.
        accept_lost: for `predict`, go on although retention has removed requests that were never predicted.
    """

    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "min_new_samples", "accept_lost")

    def __init__(
        self,
        *,
        step: Literal["train", "predict"],
        min_new_samples: int | str | None = None,
        accept_lost: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.min_new_samples = min_new_samples
        self.accept_lost = accept_lost

    def run_step(
        self,
        context: Context,  # noqa: ARG002
        pipeline: Pipeline,
        connection: KafkaConnection,
    ) -> dict[str, Any]:
        wanted = None if self.min_new_samples is None else int(self.min_new_samples)
        if self.step == "train":
            from include.training.backlog import freeze_training

            training = freeze_training(connection, pipeline, min_new_samples=wanted, metrics=self.metrics)
            return {
                "ranges": [item.to_dict() for item in training.ranges],
                "new_samples": training.new_samples,
                "start": training.start and training.start.model_dump(mode="json"),
            }
        from include.prediction.backlog import freeze_requests

        requests = freeze_requests(
            connection,
            pipeline,
            min_new_requests=1 if wanted is None else wanted,
            accept_lost=is_true(self.accept_lost),
            metrics=self.metrics,
        )
        return {"ranges": [item.to_dict() for item in requests.ranges], "new_samples": requests.new_requests}
