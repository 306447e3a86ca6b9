"""The operators' base class: pipeline, connection, stop flag, and the translation of errors for Airflow."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.definition.files import load_pipeline
from include.definition.pipeline import Pipeline
from include.definition.tables import WorkStep
from include.errors import MillraceError, NothingToDo, PermanentError
from include.exactly_once.attempt import Attempt, Step
from millrace.alerts import leave_failure
from millrace.connection import pipeline_connection
from millrace.metrics import AirflowMetrics
from millrace.operators.links import MlflowLink, PageLink

if TYPE_CHECKING:
    from airflow.sdk import Context
    from pydantic import ValidationError

    from include.kafka.connection import KafkaConnection
    from include.metrics import Metrics
    from millrace.lineage import Lineage

log = logging.getLogger(__name__)


class PipelineOperator(BaseOperator):
    """One step of a pipeline.

    A `PermanentError`, which a retry can't correct, fails the task at once; `NothingToDo` skips it; any other error is
    left to Airflow's retries. The text of each is one sentence.

    Args:
        pipeline: the pipeline's name, that of its TOML file.
        kafka_conn_id: the Airflow connection; by default the one that the pipeline has for this step.
        request_timeout: seconds that any one request to Kafka may take.
    """

    # Which of the pipeline's connections it uses.
    step: WorkStep

    template_fields: Sequence[str] = ("pipeline", "kafka_conn_id")
    operator_extra_links = (PageLink(), MlflowLink())

    def __init__(
        self, *, pipeline: str, kafka_conn_id: str | None = None, request_timeout: float = 60.0, **kwargs: Any
    ) -> None:
        # Each value of the result is an XCom of its own, so that a task can take `operator.output["ranges"]`.
        super().__init__(**{"multiple_outputs": True, **kwargs})
        self.pipeline = pipeline
        self.kafka_conn_id = kafka_conn_id
        self.request_timeout = request_timeout
        self._stop_requested = False
        self.lineage: Lineage | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step; returns its counts, ranges and versions."""
        with airflow_errors(context):
            pipeline = load_pipeline(self.pipeline)
            connection = pipeline_connection(
                pipeline, self.step, connection_id=self.kafka_conn_id, timeout_s=self.request_timeout
            )
            result = self.run_step(context, pipeline, connection)
        self.log.info("%s: %s", self.task_type, result)
        return result

    @abstractmethod
    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        """The step itself.

        Raises:
            NothingToDo: to skip the task.
            PermanentError: to fail it without a retry.
        """

    def on_kill(self) -> None:
        """Ask the step to stop at its next safe point; Airflow waits for `execute` to return."""
        self._stop_requested = True

    def stop_requested(self) -> bool:
        return self._stop_requested

    def attempt(
        self,
        context: Context,
        pipeline: Pipeline,
        connection: KafkaConnection,
        step: Step,
        *,
        accept_lost: bool = False,
    ) -> Attempt:
        """This try of the task, as the library's steps take it."""
        return Attempt(
            connection,
            pipeline.name,
            step,
            run_id(context),
            stopped=self.stop_requested,
            metrics=self.metrics,
            accept_lost=accept_lost,
        )

    @property
    def metrics(self) -> Metrics:
        return AirflowMetrics()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - the provider gives it
        """What the task has read and written, for Airflow's OpenLineage provider; None where it did nothing."""
        return None if self.lineage is None else self.lineage.to_openlineage()

    def attach_to_event(
        self, context: Context, asset_name: str, extra: dict[str, Any], *, partition: str | None = None
    ) -> None:
        """Attach counts, ranges or versions to the event of one of the task's outlets.

        Args:
            partition: the key of the asset's partition that the event is about; None for none.
        """
        for asset in self.outlets:
            if asset.name == asset_name:
                event = context["outlet_events"][asset]
                event.extra = extra
                if partition is not None:
                    event.add_partitions(partition)

    def drop_outlet(self, asset_name: str) -> None:
        """Raise no event for an outlet that got no records, while the task succeeds for its other outlets."""
        self.outlets = [asset for asset in self.outlets if asset.name != asset_name]


@contextmanager
def airflow_errors(context: Context | None = None) -> Iterator[None]:
    """Translate the library's errors: `NothingToDo` skips a task, a `PermanentError` fails it without a retry.

    Args:
        context: of the task, which leaves its error for the alert about its run.
    """
    try:
        yield
    except NothingToDo as reason:
        log.info("Skipped: %s", reason)
        raise AirflowSkipException(str(reason)) from reason
    except MillraceError as error:
        leave_failure(context or {}, error)
        if isinstance(error, PermanentError):
            raise AirflowFailException(str(error)) from error
        raise


def faults_of(error: ValidationError) -> str:
    """The faults of arguments in one line: `epochs = 0: Input should be greater than or equal to 1`."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc']))} = {item['input']!r}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors()
    )


def is_true(value: bool | str) -> bool:
    """A flag, given as a boolean or as the text that a template renders."""
    return str(value).lower() == "true"


def run_id(context: Context) -> str:
    """The id of the run, for records, ledger entries and models."""
    run = context["dag_run"]
    return f"{run.dag_id}/{run.run_id}"
