"""The steps that the suite disturbs, with as many pieces of work as needed, and the expected results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from include.artifact.result import read_result
from include.exactly_once import ledger
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.topics import TopicSpec, ensure_topics
from include.training.launch import run_training
from tests.faults.witness import Identity, Witness, key_of, request_of
from tests.support.attempts import Job, ingest_job, predict_job, train_job
from tests.support.digit_trainings import PARTITIONS as TRAINING_PARTITIONS
from tests.support.digit_trainings import fill, job_over, weights
from tests.support.producers import NOW_MS, Record, produce
from tests.support.tiny_pipelines import SCHEMA, numbers, sample_id, tiny_pipeline

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

# One request in so many is no sample and has to become a dead letter.
NO_SAMPLE_EVERY = 7
IMAGES = 400


class Work(ABC):
    """One step over many pieces of work: batches, slices of the requests, or trainings.

    Attributes:
        name: the step's name in a row.
        witnessed: the topics to watch for lost and duplicated records, each with the identity of its records.
    """

    name: str
    witnessed: Mapping[str, Identity]

    @abstractmethod
    def jobs(self, piece: int, draws: Random) -> list[Job]:
        """The jobs of one attempt at a piece, to run in parallel; each attempt may divide the piece differently."""

    @abstractmethod
    def verdict(self, witness: Witness, pieces: int) -> tuple[int, int]:
        """How many records are lost and duplicated after the first `pieces` pieces and before any other."""


class Ingest(Work):
    """Batches of the tiny pipeline, one after the other.

    Args:
        topics: the pipeline's `[topics]`.
        chunk: samples of a transaction.
        pace_s: seconds that a worker waits before each transaction.
    """

    name = "ingest"

    def __init__(
        self, kafka: KafkaConnection, name: str, *, records: int, chunk: int, pace_s: float = 0, **topics: Any
    ) -> None:
        self._kafka, self._records, self._chunk, self._pace_s = kafka, records, chunk, pace_s
        self._pipeline = tiny_pipeline(name, total=1_000_000, topics={"partitions": 2, **topics})
        ensure_topics(kafka, self._pipeline.topic_specs())
        self.witnessed = {self._pipeline.samples_topic: key_of, self._pipeline.requests_topic: key_of}

    def jobs(self, piece: int, draws: Random) -> list[Job]:  # noqa: ARG002 - a batch has one worker
        job = ingest_job(
            self._kafka,
            self._pipeline,
            f"batch-{piece}",
            records=self._records,
            chunk=self._chunk,
            pace_s=self._pace_s,
        )
        return [job]

    def verdict(self, witness: Witness, pieces: int) -> tuple[int, int]:
        wanted = [sample_id(number) for number in range(pieces * self._records)]
        return witness.verdict({tuple(self.witnessed): wanted})


class Prediction(Work):
    """Slices of a requests topic that is filled beforehand.

    An attempt takes the partitions in any order, with one worker for all or one for each.

    Args:
        pieces: how many there are at most.
        requests: of a piece, in each partition.
        control: see `tests.support.attempts.predict_job`.
    """

    name = "prediction"

    def __init__(
        self,
        kafka: KafkaConnection,
        name: str,
        *,
        pieces: int,
        requests: int,
        chunk: int,
        pace_s: float = 0,
        control: bool = False,
        **topics: Any,
    ) -> None:
        self._kafka, self._requests, self._pace_s, self._control = kafka, requests, pace_s, control
        self._pipeline = tiny_pipeline(
            name, topics={"partitions": 2, **topics}, prediction={"chunk_samples": chunk, "max_rejected_share": 1.0}
        )
        ensure_topics(kafka, self._pipeline.topic_specs())
        self.witnessed = {self._pipeline.predictions_topic: request_of, self._pipeline.dead_letters_topic: request_of}
        for partition in range(2):
            produce(
                kafka,
                self._pipeline.requests_topic,
                (_request(partition, number) for number in range(pieces * requests)),
                partition=partition,
            )
        self._all = freeze_ranges(kafka, self._pipeline.requests_topic)

    def jobs(self, piece: int, draws: Random) -> list[Job]:
        start, end = piece * self._requests, (piece + 1) * self._requests
        assert end <= self._all[0].end, f"there are {self._all[0].end} requests a partition, piece {piece} needs {end}"
        slices = [replace(item, start=start, end=end) for item in self._all]
        draws.shuffle(slices)
        divided = [[item] for item in slices] if draws.random() < 0.5 else [slices]
        return [self._job(ranges) for ranges in divided]

    def _job(self, ranges: list[OffsetRange]) -> Job:
        return predict_job(self._kafka, self._pipeline, ranges, pace_s=self._pace_s, control=self._control)

    def verdict(self, witness: Witness, pieces: int) -> tuple[int, int]:
        asked = [(item, offset) for item in self._all for offset in range(pieces * self._requests)]
        wanted: dict[bool, list[str]] = {True: [], False: []}
        for item, offset in asked:
            wanted[_is_sample(offset)].append(f"{item.topic}/{item.partition}/{offset}")
        return witness.verdict(
            {(self._pipeline.predictions_topic,): wanted[True], (self._pipeline.dead_letters_topic,): wanted[False]}
        )


class Training(Work):
    """The same training of a second, repeated in one run after the other.

    Args:
        folder: for the runs.
        fresh: see `tests.support.attempts.train_job`.
    """

    name = "training"

    def __init__(
        self,
        kafka: KafkaConnection,
        name: str,
        folder: Path,
        *,
        epochs: int = 8,
        fresh: bool = False,
        replication: int = 1,
    ) -> None:
        self._kafka, self._folder, self._fresh = kafka, folder, fresh
        ensure_topics(kafka, [TopicSpec(name, TRAINING_PARTITIONS, replication), ledger.ledger_topic(replication)])
        fill(kafka, name, IMAGES)
        self._topic = name
        self.witnessed = {name: key_of}
        self._job = job_over(kafka, name, epochs=epochs, checkpoint_batches=2)
        # Never disturbed, and trained in a new interpreter, as outside of tests.
        self._reference = weights(run_training(self._job, kafka, folder / "reference", run="faults").model_directory)

    def jobs(self, piece: int, draws: Random) -> list[Job]:  # noqa: ARG002 - a run has one worker
        return [train_job(self._kafka, self._job, self._folder / str(piece), fresh=self._fresh)]

    def verdict(self, witness: Witness, pieces: int) -> tuple[int, int]:
        """A run whose weights differ from those of the undisturbed run counts as lost."""
        results = [read_result(self._folder / str(piece), self._job.digest) for piece in range(pieces)]
        same = sum(1 for result in results if result and weights(result.model_directory) == self._reference)
        lost, duplicated = witness.verdict({(self._topic,): [f"digit-{number:04d}" for number in range(IMAGES)]})
        return lost + pieces - same, duplicated


def _is_sample(number: int) -> bool:
    return number % NO_SAMPLE_EVERY != NO_SAMPLE_EVERY // 2


def _request(partition: int, number: int) -> Record:
    return Record(
        key=f"request-{partition}-{number}".encode(),
        value=numbers(number).tobytes() if _is_sample(number) else b"no sample",
        headers=[("schema", SCHEMA)],
        timestamp_ms=NOW_MS + number,
    )
