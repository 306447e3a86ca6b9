"""Make an earlier version the champion again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.metrics import Gauges
from millrace.assets import model_asset
from millrace.lineage import Lineage, model
from millrace.operators.base import PipelineOperator, run_id

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class RollBackModelOperator(PipelineOperator):
    """Set the champion back to a version that was promoted before; the ledger keeps who triggered it and why.

    Skips when the version is champion already.

    Returns `version`, `before`, `why` and `by`.

    Args:
        version: the number of the version.
        why: the reason, in words.
    """

    step = "train"
    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "version", "why")

    def __init__(self, *, version: int | str, why: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.why = why

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        from include.registry.rollback import roll_back
        from include.registry.tracking import open_registry

        by = context["dag_run"].triggering_user_name or "an unnamed user"
        decided = roll_back(
            connection,
            open_registry(),
            pipeline.name,
            int(self.version),
            why=str(self.why),
            by=by,
            run=run_id(context),
        )
        self.metrics.gauge(Gauges.CHAMPION_VERSION, decided.version, pipeline=pipeline.name)
        self.attach_to_event(context, model_asset(pipeline).name, decided.to_dict())
        self.lineage = Lineage([model(pipeline.name, decided.version)], identifies={"version": decided.version})
        return decided.to_dict()
