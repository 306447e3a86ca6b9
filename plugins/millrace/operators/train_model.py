"""Train a model on frozen ranges and register it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from millrace.operators.base import PipelineOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from include.kafka.connection import KafkaConnection
    from include.pipeline import Pipeline


class TrainModelOperator(PipelineOperator):
    def __init__(
        self,
        *,
        ranges: Sequence[Mapping[str, Any]],
        epochs: int | str | None = None,
        batch_size: int | str | None = None,
        learning_rate: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ranges = ranges
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    template_fields: Sequence[str] = (
        *PipelineOperator.template_fields,
        "ranges",
        "epochs",
        "batch_size",
        "learning_rate",
    )

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        raise NotImplementedError
