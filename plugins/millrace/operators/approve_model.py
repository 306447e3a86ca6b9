"""Ask a person whether a version becomes champion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.execution_time.hitl import HITLUser

from include.definition.files import load_pipeline
from millrace.alerts import Alert, send
from millrace.connection import pipeline_connection
from millrace.operators.base import airflow_errors, run_id

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.registry.approval import Decision


class ApproveModelOperator(ApprovalOperator):
    """Airflow's approval of a promotion: it waits for a person, without a worker, and the ledger keeps the decision.

    Three ends: approved, the task succeeds and the tasks after it run; refused, it succeeds and they are skipped;
    expired, it fails.

    Args:
        pipeline: the pipeline's name.
        approvers: the ids of the Airflow users who may decide; none for all who may edit the DAG.
        approval_s: seconds that the task waits.
        version: the number of the challenger.
        champion_version: the number of the champion that it was compared with; None if there was none.
    """

    template_fields: Sequence[str] = (*ApprovalOperator.template_fields, "version", "champion_version")
    DECISIONS: ClassVar[dict[str, Decision]] = {
        ApprovalOperator.APPROVE: "approved",
        ApprovalOperator.REJECT: "refused",
    }

    def __init__(
        self,
        *,
        pipeline: str,
        version: Any,
        champion_version: Any,
        approvers: Sequence[str] = (),
        approval_s: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            assigned_users=[HITLUser(id=user, name=user) for user in approvers] or None,
            response_timeout=timedelta(seconds=approval_s),
            **kwargs,
        )
        self.pipeline = pipeline
        self.version = version
        self.champion_version = champion_version

    def execute(self, context: Context) -> Any:
        """Tell the person, and wait."""
        text = f"{self.subject} {run_id(context)} waits for a person."
        send(load_pipeline(self.pipeline), Alert("approval", self.pipeline, self.subject, text), context)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record the decision; see the class for the ends."""
        if event.get("error_type") == "timeout":
            from include.registry.approval import ApprovalExpired

            self._record(context, "expired", None)
            with airflow_errors(context):
                raise ApprovalExpired(
                    f"Nobody has decided within {self.response_timeout} about version {self.version} of "
                    f"{self.pipeline}, so it is not promoted: clear this task, which asks again."
                )
        # The base class refuses other errors and answers.
        if "error" not in event and (decision := self.DECISIONS.get(event["chosen_options"][0])) is not None:
            user = event["responded_by_user"]
            by = user["name"] if user["name"] == user["id"] else f"{user['name']} ({user['id']})"
            self._record(context, decision, by)
        return super().execute_complete(context, event)

    def _record(self, context: Context, decision: Decision, by: str | None) -> None:
        from include.registry.approval import Approval, end_challenge, record_approval

        with airflow_errors(context):
            pipeline = load_pipeline(self.pipeline)
            before = None if self.champion_version is None else int(self.champion_version)
            decided = Approval(int(self.version), before, decision, by, run_id(context))
            record_approval(pipeline_connection(pipeline, "train", timeout_s=60.0), pipeline.name, decided)
        if pipeline.promotion.shadow and decision != "approved":
            end_challenge(pipeline.name, decided.version)
