"""Make a version the champion, if it is the better one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from millrace.operators.base import PipelineOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from include.kafka.connection import KafkaConnection
    from include.pipeline import Pipeline


class PromoteModelOperator(PipelineOperator):
    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "version")

    def __init__(self, *, version: int | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        raise NotImplementedError
