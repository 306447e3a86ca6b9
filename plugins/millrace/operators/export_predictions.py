"""Write predictions to Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.errors import NothingToDo, PermanentError, amount
from millrace.lineage import Dataset, Lineage, topic
from millrace.operators.base import PipelineOperator, is_true
from millrace.storage import filesystem_for, scheme_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class ExportPredictionsOperator(PipelineOperator):
    """Write the predictions that no run has written yet to the pipeline's `[export]`, each as one row.

    Skips when there are none.

    Returns `rows` and `files` of this attempt, and `left_out`, the records that are no predictions.

    Args:
        accept_lost: go on although retention has removed predictions that were never written.
    """

    step = "export"
    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "accept_lost")

    def __init__(self, *, accept_lost: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.accept_lost = accept_lost

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        from include.export.export import export_predictions
        from include.export.folder import ExportFolder, require_whole_files

        settings = pipeline.export
        if settings is None:
            raise PermanentError(f"Pipeline {pipeline.name} has no [export]: add the table to its file, with a path.")
        # First, so that nobody is told to install the package of a storage that an export can't use.
        require_whole_files(settings.path, (scheme_of(settings.path),))
        filesystem = None if settings.connection is None else filesystem_for(settings.path, settings.connection)
        done = export_predictions(
            self.attempt(context, pipeline, connection, "export", accept_lost=is_true(self.accept_lost)),
            pipeline,
            ExportFolder(settings.path, filesystem),
            rows=settings.rows,
        )
        if not done.rows:
            left_out = f" but {amount(done.left_out, 'record')} of another kind" if done.left_out else ""
            raise NothingToDo(f"{pipeline.predictions_topic} has nothing new to write{left_out}: nothing was exported.")
        self.lineage = Lineage(
            [topic(connection, pipeline.predictions_topic, rows=done.rows)],
            [Dataset("file", settings.path, rows=done.rows)],
        )
        return {"rows": done.rows, "files": done.files, "left_out": done.left_out}
