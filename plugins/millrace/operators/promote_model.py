"""Make a version the champion, if it is the better one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.errors import NothingToDo
from include.metrics import Gauges
from millrace.assets import model_asset
from millrace.operators.base import PipelineOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class PromoteModelOperator(PipelineOperator):
    """Compare a version with the champion on the same held-out samples, and move the alias if it is better.

    Skips when the version is below the pipeline's floor or no better than the champion.

    Returns `promoted`, `reason`, `accuracy`, `champion_accuracy`, `version`, `champion_version` and `samples`; for
    `accuracy` there is `micro_f1` or `r2` in other tasks than classification.

    Args:
        version: the number of the challenger.
        floor: the lowest accuracy, micro-F1 or R² of a champion; the pipeline's `promotion.floor` by default.
    """

    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "version", "floor")

    def __init__(self, *, version: int | str, floor: float | str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.floor = floor

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        from include.registry.promotion import promote
        from include.registry.tracking import open_registry

        floor = pipeline.promotion.floor if self.floor is None else float(self.floor)
        decision = promote(
            connection,
            open_registry(),
            pipeline.name,
            int(self.version),
            floor,
            allow_missing=pipeline.promotion.allow_missing,
            trusted=pipeline.trusted_models,
            stopped=self.stop_requested,
        )
        if not decision.promoted:
            raise NothingToDo(decision.reason)
        self.log.info("%s", decision.reason)
        self.metrics.gauge(Gauges.CHAMPION_VERSION, decision.version, pipeline=pipeline.name)
        result = decision.to_dict()
        self.attach_to_event(
            context, model_asset(pipeline).name, {"version": decision.version, decision.metric: decision.score}
        )
        return result
