"""The operators' base class: pipeline, connection, stop flag, and the translation of errors for Airflow."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.definition.files import load_pipeline
from include.definition.pipeline import Pipeline
from include.errors import NothingToDo, PermanentError
from include.exactly_once.attempt import Attempt, Step
from millrace.connection import connection_keys, kafka_connection, schema_registry
from millrace.metrics import AirflowMetrics

if TYPE_CHECKING:
    from airflow.sdk import Context
    from pydantic import ValidationError

    from include.kafka.connection import KafkaConnection
    from include.metrics import Metrics


class PipelineOperator(BaseOperator):
    """One step of a pipeline.

    A `PermanentError`, which a retry can't correct, fails the task at once; `NothingToDo` skips it; any other error is
    left to Airflow's retries. The text of each is one sentence.

    Args:
        pipeline: the pipeline's name, that of its TOML file.
        kafka_conn_id: the Airflow connection; the pipeline's own by default.
        request_timeout: seconds that any one request to Kafka may take.
    """

    template_fields: Sequence[str] = ("pipeline", "kafka_conn_id")

    def __init__(
        self, *, pipeline: str, kafka_conn_id: str | None = None, request_timeout: float = 60.0, **kwargs: Any
    ) -> None:
        # Each value of the result is an XCom of its own, so that a task can take `operator.output["ranges"]`.
        super().__init__(**{"multiple_outputs": True, **kwargs})
        self.pipeline = pipeline
        self.kafka_conn_id = kafka_conn_id
        self.request_timeout = request_timeout
        self._stop_requested = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step; returns its counts, ranges and versions."""
        try:
            pipeline = load_pipeline(self.pipeline)
            connection = kafka_connection(self.kafka_conn_id or pipeline.connection, timeout_s=self.request_timeout)
            if pipeline.signing is not None:
                connection = replace(connection, signing=connection_keys(pipeline.signing.connection))
            if pipeline.registry is not None:
                connection = replace(connection, registry=schema_registry(pipeline.registry.connection))
            result = self.run_step(context, pipeline, connection)
        except NothingToDo as reason:
            self.log.info("Skipped: %s", reason)
            raise AirflowSkipException(str(reason)) from reason
        except PermanentError as error:
            raise AirflowFailException(str(error)) from error
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
        """Whether Airflow has asked this task to end."""
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
        """The receiver of the step's metrics."""
        return AirflowMetrics()

    def attach_to_event(self, context: Context, asset_name: str, extra: dict[str, Any]) -> None:
        """Attach counts, ranges or versions to the event of one of the task's outlets."""
        for asset in self.outlets:
            if asset.name == asset_name:
                context["outlet_events"][asset].extra = extra

    def drop_outlet(self, asset_name: str) -> None:
        """Raise no event for an outlet that got no records, while the task succeeds for its other outlets."""
        self.outlets = [asset for asset in self.outlets if asset.name != asset_name]


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
