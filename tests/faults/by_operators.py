"""A pipeline whose operators run in this process: what the DAGs do, without a scheduler."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.definition.files import PIPELINES, load_pipeline
from include.errors import PermanentError
from include.exactly_once.attempt import Attempt
from include.kafka.headers import write_headers
from include.kafka.ranges import OffsetRange
from include.prediction.predictor import Predictor
from include.prediction.publish import PublishReport, publish_predictions
from include.targets.classification import Classification
from millrace.operators import EnsureTopicsOperator, FreezeRangesOperator, ProduceBatchOperator
from tests.faults.witness import count as counted
from tests.faults.witness import key_of, lost_and_duplicated, request_of
from tests.support.assertions import assert_readable
from tests.support.consumers import committed_records
from tests.support.operators import DagRun, context_of
from tests.support.producers import NOW_MS, Record, produce
from tests.support.tiny_pipelines import IDENTITY

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

PARTITIONS = 2
INTERVAL = datetime(2026, 1, 1, tzinfo=UTC)

Step = Literal["train", "predict"]


class OperatorPipeline:
    """The bundled pipeline under another name, with its topics; half of its samples are requests.

    Args:
        pipelines: the folder that `MILLRACE_PIPELINES` names.
    """

    def __init__(self, kafka: KafkaConnection, pipelines: Path, name: str) -> None:
        replaced = {"partitions": str(PARTITIONS), "requests_share": "0.5", "min_new_samples": "1"}
        lines = (PIPELINES / "digits.toml").read_text(encoding="utf-8").splitlines()
        for key, value in replaced.items():
            lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in lines]
        (pipelines / f"{name}.toml").write_text("\n".join(lines), encoding="utf-8")
        self.kafka = kafka
        self.pipeline = load_pipeline(name)
        self._runs = count()
        network = self.pipeline.model.build(self.pipeline.format.sample_shape, len(self.pipeline.training.labels))
        # Imports what the source needs, before a step holds a transactional id that expires while it is idle.
        self.pipeline.source.read(0, 1)
        self._predictor = Predictor(network.eval(), Classification(self.pipeline.training.labels), IDENTITY)
        self.ensure_topics()

    @property
    def group(self) -> str:
        """The consumer group of prediction."""
        return Attempt(self.kafka, self.pipeline.name, "predict", "").group()

    def ensure_topics(self) -> None:
        EnsureTopicsOperator(task_id="t", pipeline=self.pipeline.name).execute(self._context("ingest"))

    def ingest(self, *, records: int = 100, run: DagRun | None = None) -> dict[str, Any]:
        """Ingest a new batch, or the batch of `run`."""
        operator = ProduceBatchOperator(task_id="t", pipeline=self.pipeline.name, records=records)
        return operator.execute(self._context("ingest") if run is None else context_of(run))

    def ask(self, requests: int, *, age_ms: int = 0) -> None:
        """Write requests to partition 0 as another application would, always with the same keys."""
        headers = write_headers(self.pipeline.format.schema_name)
        produce(
            self.kafka,
            self.pipeline.requests_topic,
            [
                Record(self.pipeline.format.encode(sample.content), sample.id.encode(), headers, NOW_MS - age_ms)
                for sample in self.pipeline.source.read(0, requests)
            ],
        )

    def scheduled(self, name: str) -> DagRun:
        """A scheduled run of ingest, always for the same data interval."""
        return DagRun(f"{self.pipeline.name}.ingest", name, "scheduled", INTERVAL)

    def freeze(self, step: Step, *, accept_lost: bool = False) -> list[OffsetRange]:
        operator = FreezeRangesOperator(task_id="t", pipeline=self.pipeline.name, step=step, accept_lost=accept_lost)
        return [OffsetRange(**item) for item in operator.execute(self._context(step))["ranges"]]

    def publish(self, ranges: list[OffsetRange], *, accept_lost: bool = False) -> PublishReport:
        return publish_predictions(
            Attempt(self.kafka, self.pipeline.name, "predict", "week", accept_lost=accept_lost),
            self.pipeline,
            ranges,
            self._predictor,
        )

    def predict(self, *, accept_lost: bool = False) -> PublishReport:
        """Freeze and publish, as a run of the predict DAG does."""
        return self.publish(self.freeze("predict", accept_lost=accept_lost), accept_lost=accept_lost)

    def requests(self) -> list[str]:
        """The addresses of the requests in the topic now."""
        return [
            f"{record.topic()}/{record.partition()}/{record.offset()}"
            for record in committed_records(self.kafka, self.pipeline.requests_topic)
        ]

    def predicted(self, requests: list[str]) -> tuple[int, int]:
        """How many of the requests have no prediction, and how many have several."""
        return lost_and_duplicated(requests, counted(self.kafka, self.pipeline.predictions_topic, request_of))

    def sent(self, samples: int) -> tuple[int, int]:
        """How many of the source's first samples are in neither topic, and how many are there twice."""
        topics = (self.pipeline.samples_topic, self.pipeline.requests_topic)
        found = [counted(self.kafka, topic, key_of) for topic in topics]
        return lost_and_duplicated((f"digit-{number:04d}" for number in range(samples)), found[0] + found[1])

    def _context(self, workflow: str) -> Any:
        return context_of(DagRun(f"{self.pipeline.name}.{workflow}", f"run-{next(self._runs)}"))


def refused(action: Callable[[], object], kind: type[PermanentError], *named: object) -> None:
    """Fail unless the action raises a permanent error of this kind, in one sentence that names all of `named`."""
    with pytest.raises((AirflowFailException, PermanentError)) as refusal:
        action()
    error = refusal.value.__cause__ if isinstance(refusal.value, AirflowFailException) else refusal.value
    assert isinstance(error, kind), repr(error)
    assert_readable(error, *named)


def skipped(action: Callable[[], object], text: str) -> None:
    """Fail unless the action skips with a message that matches `text`."""
    with pytest.raises(AirflowSkipException, match=text):
        action()
