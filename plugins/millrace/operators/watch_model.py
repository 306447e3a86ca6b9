"""Watch the model that serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace.alerts import Alert, send
from millrace.assets import watch_asset
from millrace.lineage import Lineage, model, topic
from millrace.operators.base import PipelineOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class WatchModelOperator(PipelineOperator):
    """Compare what the champion serves with what it was trained on, and with labels that come late; see `[watch]`.

    A figure that is beyond its limit and was not at the look before raises an alert and an event of its asset. Skips
    when nothing was promoted or answered.

    Returns the figures, and `over`, the names of those beyond their limits.
    """

    step = "watch"

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        from include.watching.model import watched_champion
        from include.watching.watch import watch

        watched_model = watched_champion(connection, pipeline)
        found = watch(self.attempt(context, pipeline, connection, "watch"), pipeline, watched_model)
        for sentence in found.over.values():
            self.log.warning("%s", sentence)
        result = found.to_dict()
        asset = watch_asset(pipeline).name
        if found.new:
            text = " ".join(found.over[figure] for figure in found.new)
            send(pipeline, Alert("watch", pipeline.name, f"The model of {pipeline.name} needs a look", text), context)
            self.attach_to_event(context, asset, result)
        else:
            self.drop_outlet(asset)
        predictions = topic(connection, pipeline.predictions_topic, rows=found.figures.samples)
        self.lineage = Lineage(
            [predictions, model(pipeline.name, found.version)], identifies={"version": found.version}
        )
        return result
