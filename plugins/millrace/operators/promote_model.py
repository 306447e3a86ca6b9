"""Make a version the champion, if it is the better one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.errors import NothingToDo
from include.metrics import Gauges
from millrace.assets import model_asset
from millrace.lineage import Lineage, model
from millrace.operators.base import PipelineOperator, run_id

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class PromoteModelOperator(PipelineOperator):
    """Compare a version with the champion on the same held-out samples, and move the alias if it is better.

    Skips when the rules of `[promotion]` do not let the version be champion.

    Returns `promoted`, `reason`, `accuracy`, `champion_accuracy`, `version`, `champion_version` and `samples`; for
    `accuracy` there is `micro_f1` or `r2` in other tasks than classification. Of what a person has approved it returns
    `promoted`, `reason`, `version`, `champion_version` and `approved_by`.

    Args:
        version: the number of the challenger.
        floor: the lowest accuracy, micro-F1 or R² of a champion; the pipeline's `promotion.floor` by default.
        approved: compare nothing, and promote what a person has approved in this run; see `ApproveModelOperator`.
    """

    step = "train"
    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "version", "floor")

    def __init__(
        self, *, version: int | str, floor: float | str | None = None, approved: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.approved = approved
        self.version = version
        self.floor = floor

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        if self.approved:
            return self._promote_approved(context, pipeline, connection)

        from include.registry.promotion import promote
        from include.registry.tracking import open_registry

        rules = pipeline.promotion
        if self.floor is not None:
            rules = rules.model_copy(update={"floor": float(self.floor)})
        decision = promote(
            connection,
            open_registry(),
            pipeline.name,
            int(self.version),
            rules,
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
        self.lineage = Lineage([model(pipeline.name, decision.version)], identifies={"version": decision.version})
        return result

    def _promote_approved(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        from include.registry.approval import promote_approved
        from include.registry.tracking import open_registry

        chosen, decided = promote_approved(
            connection, open_registry(), pipeline.name, int(self.version), run_id(context), self.stop_requested
        )
        self.metrics.gauge(Gauges.CHAMPION_VERSION, chosen.number, pipeline=pipeline.name)
        extra = {"version": chosen.number, chosen.metric: chosen.score, "approved_by": decided.by}
        self.attach_to_event(context, model_asset(pipeline).name, extra)
        self.lineage = Lineage([model(pipeline.name, chosen.number)], identifies={"version": chosen.number})
        return {
            "promoted": True,
            "reason": f"Version {chosen.number} was approved by {decided.by}.",
            "version": chosen.number,
            "champion_version": decided.before,
            "approved_by": decided.by,
        }
