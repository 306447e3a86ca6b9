"""Compare a version with the champion, for a person to decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.errors import NothingToDo
from millrace.lineage import Lineage, model
from millrace.operators.base import PipelineOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class CompareModelsOperator(PipelineOperator):
    """Compare a version with the champion on the same held-out samples; nothing is promoted.

    Skips when the rules of `[promotion]` do not let the version be champion, and when it is champion already. With
    `[promotion] shadow` the version is the challenger from now on, which predicts beside the champion.

    Returns what `PromoteModelOperator` does, and `subject` and `body`, the texts for the person who decides.

    Args:
        version: the number of the challenger.
    """

    step = "train"
    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "version")

    def __init__(self, *, version: int | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version

    def run_step(
        self,
        context: Context,  # noqa: ARG002 - the base class gives it
        pipeline: Pipeline,
        connection: KafkaConnection,
    ) -> dict[str, Any]:
        from include.registry.agreement import read_agreement
        from include.registry.approval import describe
        from include.registry.promotion import compare
        from include.registry.tracking import open_registry
        from include.registry.versions import set_challenger

        number, registry = int(self.version), open_registry()
        compared = compare(
            connection,
            registry,
            pipeline.name,
            number,
            pipeline.promotion,
            trusted=pipeline.trusted_models,
        )
        decision = compared.decision
        if compared.champion or not decision.promoted:
            raise NothingToDo(decision.reason)
        held, agreement = decision.champion_version, None
        if held is not None and pipeline.promotion.shadow:
            agreement = read_agreement(connection, pipeline.name, held, number)
            set_challenger(registry, compared.challenger)
        compared_with = [] if held is None else [model(pipeline.name, held)]
        self.lineage = Lineage([model(pipeline.name, number), *compared_with], identifies={"version": number})
        instead = "the first champion" if held is None else f"champion in place of version {held}"
        return {
            **decision.to_dict(),
            "subject": f"Is version {number} of {pipeline.name} to be {instead}?",
            "body": describe(compared, agreement),
        }
