"""The working task of each DAG, with enough work to be hit with certainty, and its expected results."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.artifact.model import load_model
from include.definition.pipeline import Pipeline
from include.exactly_once.progress import count_records
from include.kafka.connection import KafkaConnection
from include.kafka.headers import write_headers
from include.kafka.ranges import freeze_ranges
from include.local.stack import Stack
from include.registry.tracking import open_registry
from include.registry.versions import champion, download, version
from include.training.job import TrainingJob
from include.training.loop import CHECKPOINTS
from tests.faults.tasks import AirflowTask
from tests.faults.training import train_here
from tests.faults.witness import Witness
from tests.support.administrator import change_topic
from tests.support.consumers import committed_records, log_ends
from tests.support.digit_trainings import weights
from tests.support.processes import wait_for
from tests.support.producers import NOW_MS, Record, produce

if TYPE_CHECKING:
    import psutil

NAME = "faults"
PARTITIONS = 2
BATCH = 590
# For a task to begin its work on a loaded machine.
BUSY_S = 300.0

# Many epochs and many small transactions take long enough to be hit. Only the suite triggers its DAGs: the first data
# interval of their schedule ends in 2032, and a DAG with a schedule does not follow the backlog.
PIPELINE = f"""
description = "Is killed again and again."
[topics]
partitions = {PARTITIONS}
[format]
kind = "image.png"
height = 8
width = 8
[source]
kind = "digits"
[ingest]
schedule = "0 0 29 2 *"
records = {BATCH}
requests_share = 0.2
[model]
kind = "convnet"
channels = [8]
hidden = 32
dropout = 0.1
[training]
schedule = "0 0 29 2 *"
labels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
epochs = 70
batch_size = 32
learning_rate = 0.01
checkpoint_batches = 5
threads = 1
[promotion]
floor = 0.5
[prediction]
schedule = "0 0 29 2 *"
chunk_samples = 1
"""


@dataclass(frozen=True)
class Scene:
    """A stack, its pipeline, and the witness of its topics."""

    stack: Stack
    kafka: KafkaConnection
    pipeline: Pipeline
    witness: Witness

    def committed(self, *topics: str) -> int:
        """How many records are committed; open transactions are not waited for."""
        ranges = [item for topic in topics for item in freeze_ranges(self.kafka, topic, settle_s=0)]
        return count_records(self.kafka, "faults", ranges, enough=sys.maxsize)


class DagTask(ABC):
    """The task that does the work of a DAG."""

    workflow: str
    task_id: str
    conf: Mapping[str, Any] = {}

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.runs = 0

    @property
    def dag_id(self) -> str:
        return f"{NAME}.{self.workflow}"

    def begin(self) -> AirflowTask:
        """Trigger a run of the DAG, and make sure that it has work."""
        self.runs += 1
        run_id = self.scene.stack.api.trigger(self.dag_id, dict(self.conf))
        return AirflowTask(self.scene.stack, self.dag_id, run_id, self.task_id)

    @abstractmethod
    def wait_until_busy(self, process: psutil.Process) -> None:
        """Wait until the task's process is in the middle of its work."""

    def let_go_on(self) -> None:  # noqa: B027 - only ingest is held
        """Let a task that is held in the middle of its work go on."""

    @abstractmethod
    def done(self) -> int:
        """How many results other applications can see by now."""

    @abstractmethod
    def verdict(self) -> tuple[int, int]:
        """How many results are lost and duplicated, once every run has succeeded."""


class Ingest(DagTask):
    """A batch, hit when its first samples are in the log and its transaction is open.

    Undisturbed, the transaction takes some hundredths of a second. The requests topic requires more in-sync replicas
    than there are, so that the producer keeps retrying and the transaction stays open until `let_go_on`.
    """

    workflow = "ingest"
    task_id = "produce_batch"

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._topics = (scene.pipeline.samples_topic, scene.pipeline.requests_topic)

    def begin(self) -> AirflowTask:
        self._before = self._written()
        self._ask_for_replicas(2)
        return super().begin()

    def wait_until_busy(self, process: psutil.Process) -> None:
        wait_for(lambda: self._written() > self._before, f"the first samples of {process}", timeout_s=BUSY_S)

    def let_go_on(self) -> None:
        self._ask_for_replicas(1)

    def _ask_for_replicas(self, number: int) -> None:
        change_topic(self.scene.kafka, self.scene.pipeline.requests_topic, "min.insync.replicas", str(number))

    def _written(self) -> int:
        """The sum of the end offsets of the samples topic, records of open transactions included."""
        return sum(log_ends(self.scene.kafka, self.scene.pipeline.samples_topic, list(range(PARTITIONS))).values())

    def done(self) -> int:
        return self.scene.committed(*self._topics)

    def verdict(self) -> tuple[int, int]:
        samples = (f"digit-{number:04d}" for number in range(self.runs * BATCH))
        return self.scene.witness.verdict({self._topics: list(samples)})


class Training(DagTask):
    """A training, hit when it has written a checkpoint; all runs have the same samples and settings."""

    workflow = "train"
    task_id = "train_model"
    conf: Mapping[str, Any] = {"min_new_samples": 0}

    def __init__(self, scene: Scene, reference: Path) -> None:
        super().__init__(scene)
        self._reference = reference

    def wait_until_busy(self, process: psutil.Process) -> None:
        runs = self.scene.stack.layout.state / "runs"
        # A finished run removes its checkpoints.
        wait_for(lambda: any(runs.glob(f"**/{CHECKPOINTS}/[0-9]*")), "a checkpoint", timeout_s=BUSY_S)
        assert process.children(), "the task has no trainer"

    def done(self) -> int:
        return len(self._versions())

    def verdict(self) -> tuple[int, int]:
        """Each run must have one version, with the weights of an uninterrupted training."""
        registry, versions = open_registry(), self._versions()
        models = [download(registry, version(registry, NAME, number)) for number in versions]
        card = load_model(models[0], version(registry, NAME, versions[0]).digest).card
        job = TrainingJob.of(self.scene.pipeline, card.manifest.ranges)
        whole = weights(train_here(job, self.scene.kafka, self._reference, run="reference").model_directory)
        holder = champion(registry, NAME)
        assert holder is not None
        assert holder.number == versions[0], "an equal model took the alias"
        differing = sum(weights(model) != whole for model in models)
        return max(self.runs - len(versions), 0) + differing, max(len(versions) - self.runs, 0)

    def _versions(self) -> list[int]:
        found = open_registry().client.search_model_versions(f"name = '{NAME}'")
        return sorted(int(item.version) for item in found)


class Prediction(DagTask):
    """Requests, each in a transaction of its own, hit when some have predictions.

    Args:
        asked: the number of requests of each run.
    """

    workflow = "predict"
    task_id = "publish_predictions"

    def __init__(self, scene: Scene, asked: Iterable[int]) -> None:
        super().__init__(scene)
        self._asked = iter(asked)

    def begin(self) -> AirflowTask:
        pipeline, asked_for = self.scene.pipeline, next(self._asked)
        (sample,) = pipeline.source.read(0, 1)
        value, headers = pipeline.format.encode(sample.content), write_headers(pipeline.format.schema_name)
        for partition in range(PARTITIONS):
            asked = [
                Record(value, f"asked-{self.runs}-{partition}-{number}".encode(), headers, NOW_MS)
                for number in range(asked_for // PARTITIONS)
            ]
            produce(self.scene.kafka, pipeline.requests_topic, asked, partition=partition)
        self._before = self.done()
        return super().begin()

    def wait_until_busy(self, process: psutil.Process) -> None:  # noqa: ARG002 - the topic shows it
        wait_for(lambda: self.done() > self._before, "the first predictions", timeout_s=BUSY_S)

    def done(self) -> int:
        return self.scene.committed(self.scene.pipeline.predictions_topic)

    def verdict(self) -> tuple[int, int]:
        pipeline = self.scene.pipeline
        requests = [
            f"{record.topic()}/{record.partition()}/{record.offset()}"
            for record in committed_records(self.scene.kafka, pipeline.requests_topic)
        ]
        return self.scene.witness.verdict({(pipeline.predictions_topic, pipeline.dead_letters_topic): requests})
