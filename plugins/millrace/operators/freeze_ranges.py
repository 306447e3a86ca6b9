"""Decide which offsets a run works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from include.errors import NothingToDo
from include.exactly_once.lost_ledger import refuse_lost_ledger
from include.exactly_once.progress import count_records, position_in, read_progress, refuse_truncated
from include.kafka.errors import LogTruncated, TopicRecreated
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.topics import refuse_compacted
from include.metrics import Gauges
from include.reading.late import LateLabels, count_labelled, read_labels
from include.reading.layout import TopicLabels
from include.reading.records import record_reader
from millrace.operators.base import PipelineOperator, is_true

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


class FreezeRangesOperator(PipelineOperator):
    """Freeze a topic's partitions at their last stable offset, and skip when too little of it is new.

    For `train` the ranges are all samples that the topic still has, or for an incremental training those that came
    since the champion's with a share of older ones; for `predict` the requests that have not been
    worked through. What is new is told from the ledger, so one run serves a backlog of any size and a lost event is
    made good by the next one.

    Where labels come late from a topic of their own, its ranges are frozen too, and what is new are the samples whose
    sample or label is: labelled ones, and no others.

    Returns `ranges` (a list of topic, topic id, partition, start, end), `new_samples` (at most the number that was
    asked for is counted) and for `train` `start`, what `training.start_from` stands for.

    Args:
        step: `train` or `predict`.
        min_new_samples: how many of the samples must be new; the pipeline's own for `train`, 1 for `predict`.
        accept_lost: go on though retention has removed requests that were never predicted.
    """

    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "min_new_samples", "accept_lost")

    def __init__(
        self,
        *,
        step: Literal["train", "predict"],
        min_new_samples: int | str | None = None,
        accept_lost: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.min_new_samples = min_new_samples
        self.accept_lost = accept_lost

    def run_step(
        self,
        context: Context,  # noqa: ARG002
        pipeline: Pipeline,
        connection: KafkaConnection,
    ) -> dict[str, Any]:
        training = self.step == "train"
        topic = pipeline.samples_topic if training else pipeline.requests_topic
        labels = pipeline.labels if training and isinstance(pipeline.labels, TopicLabels) else None
        default = pipeline.training.min_new_samples if training else 1
        wanted = default if self.min_new_samples is None else int(self.min_new_samples)
        topics = [topic] if labels is None else [topic, labels.topic]
        if training:
            for name in topics:
                refuse_compacted(connection, name)
        group = f"{connection.environment}.{pipeline.name}.{self.step}.count"
        # The labels first: a sample that somebody has labelled is in its topic by then.
        label_ranges = [] if labels is None else freeze_ranges(connection, labels.topic)
        ranges = freeze_ranges(connection, topic)
        new = self._unworked(connection, pipeline, ranges)
        if labels is None:
            count = count_records(connection, group, new, enough=max(wanted, 1))
        else:
            reached = {item.partition: item.start for item in new}
            late = self._labels(connection, pipeline, group, labels, label_ranges)
            with record_reader(connection, pipeline.record_layout(topic), pipeline.format.schema_name) as reader:
                count = count_labelled(connection, group, reader, ranges, reached, late, enough=max(wanted, 1))
        offsets = sum(item.offsets for item in new)
        self.metrics.gauge(Gauges.BACKLOG_OFFSETS, offsets, pipeline=pipeline.name, step=self.step)
        if count < wanted or not any(item.offsets for item in ranges):
            raise NothingToDo(
                f"Topic {topic} has {count} new samples and this step waits for {max(wanted, 1)}: nothing to do yet."
            )
        result: dict[str, Any] = {"new_samples": count}
        if training:
            ranges, result["start"] = self._learning(pipeline, ranges)
        chosen = [*ranges, *_filled(label_ranges)] if training else _filled(new)
        return {"ranges": [item.to_dict() for item in chosen], **result}

    def _learning(
        self, pipeline: Pipeline, ranges: list[OffsetRange]
    ) -> tuple[list[OffsetRange], dict[str, Any] | None]:
        """What to learn from, and what to start from: fixed here, so that a retry of the training finds the same."""
        from include.training.start import resolve_start, start_ranges

        start = resolve_start(pipeline)
        if start is None or not pipeline.training.incremental:
            return _filled(ranges), None if start is None else start.model_dump(mode="json")
        ranges = start_ranges(pipeline, start, ranges)
        if not ranges:
            raise NothingToDo(
                f"Topic {pipeline.samples_topic} has nothing that {start.source} has not learnt from: nothing to train "
                "on yet."
            )
        return ranges, start.model_dump(mode="json")

    def _unworked(
        self, connection: KafkaConnection, pipeline: Pipeline, ranges: list[OffsetRange]
    ) -> list[OffsetRange]:
        """The part of each range behind the ledger's position."""
        entries = read_progress(connection, pipeline.name, self.step, ranges)
        if self.step == "predict" and not entries:
            outputs = (pipeline.predictions_topic, pipeline.dead_letters_topic)
            refuse_lost_ledger(connection, pipeline.requests_topic, outputs)
        return [
            replace(item, start=self._reached(connection, item, entries[item.partition]))
            if item.partition in entries
            else item
            for item in ranges
        ]

    def _labels(
        self,
        connection: KafkaConnection,
        pipeline: Pipeline,
        group: str,
        labels: TopicLabels,
        ranges: list[OffsetRange],
    ) -> LateLabels:
        new = self._unworked(connection, pipeline, ranges)
        reached = {item.partition: item.start for item in new}
        return read_labels(connection, f"{group}.labels", labels, ranges, reached=reached)

    def _reached(self, connection: KafkaConnection, item: OffsetRange, entry: Mapping[str, Any]) -> int:
        # A model may learn from what is left; a request that is lost is somebody's answer that never comes.
        accept_lost = self.step == "train" or is_true(self.accept_lost)
        try:
            start = position_in(item, entry, accept_lost=accept_lost)
            refuse_truncated(connection, item, entry)
        except (TopicRecreated, LogTruncated) as error:
            if self.step == "predict":
                raise
            # A model may learn from any samples; only what is published must not be published twice.
            self.log.warning("%s Training takes all of its samples as new.", error)
            return item.start
        return start


def _filled(ranges: Sequence[OffsetRange]) -> list[OffsetRange]:
    return [item for item in ranges if item.offsets]
