"""A folder of photographs into a topic, against reading the files and a bare transactional producer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from benchmarks import produce
from benchmarks.images import CODEC, photographs
from benchmarks.measure import Comparison, Run, Stopwatch, take_turns
from benchmarks.samples import LABELS
from include.definition.pipeline import Pipeline
from include.exactly_once.attempt import Attempt
from include.ingest.batch import ingest_batch
from include.ingest.chunk import CHUNK_SAMPLES
from include.kafka.connection import KafkaConnection
from include.kafka.headers import write_headers
from include.kafka.topics import TopicSpec, ensure_topics

TARGET = 0.8
# More than one chunk: while one is sent, the next one is checked.
DISTINCT, FILES = 256, 8192
PEER_TOPIC = TopicSpec("bench.files", partitions=4)

_numbers = count()


def compare(
    connection: KafkaConnection, *, seed: int, repeats: int, on_round: Callable[[int], None]
) -> Iterator[Comparison]:
    """Send the same files each time, by another pipeline, so that none of them has been sent."""
    ensure_topics(connection, [PEER_TOPIC])
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name:
        folder = Path(name)
        _write(folder, seed)
        yield Comparison(
            name="ingest of a folder of photographs",
            question="How near is a batch of files to reading them and sending them unchecked?",
            ours="ingest_batch: listed, planned with a fingerprint, each image checked, sent exactly once",
            limit="read_bytes of each file and a bare transactional producer",
            runs=take_turns(
                {"ours": lambda: _ingest(connection, folder), "limit": lambda: _send(connection, folder)},
                repeats=repeats,
                on_round=on_round,
            ),
            target=TARGET,
            unit="files/s",
            notes=(f"{FILES:,} JPEG files of 224x224 pixels in {len(LABELS)} folders",),
        )


def _write(folder: Path, seed: int) -> None:
    distinct = photographs(DISTINCT, seed)
    for number in range(FILES):
        path = folder / LABELS[number % len(LABELS)] / f"{number:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(distinct[number % DISTINCT])
        # A file that has just changed may still be being written, so it waits for the next batch.
        os.utime(path, (0, 0))


def _ingest(connection: KafkaConnection, folder: Path) -> Run:
    pipeline = Pipeline.model_validate(
        {
            "name": f"bench_files_{next(_numbers)}",
            "description": "Files in folders.",
            "format": CODEC.model_dump(),
            "source": {"kind": "folder", "path": str(folder)},
            "model": {"kind": "convnet"},
            "training": {"labels": LABELS},
            "topics": {"partitions": PEER_TOPIC.partitions},
        }
    )
    ensure_topics(connection, pipeline.topic_specs())
    watch = Stopwatch()
    result = ingest_batch(Attempt(connection, pipeline.name, "ingest", "bench"), pipeline, "bench", records=FILES)
    run = watch.run(FILES)
    if result.sent_now != FILES:
        raise RuntimeError(f"{result.sent_now:,} of {FILES:,} files were sent: so the figures are invalid.")
    return run


def _send(connection: KafkaConnection, folder: Path) -> Run:
    watch = Stopwatch()
    files = sorted(folder.glob("*/*.jpg"))
    headers = {label: write_headers(CODEC.schema_name, label=label) for label in LABELS}
    with produce.bare_producer(connection, PEER_TOPIC.name) as producer:
        for start in range(0, len(files), CHUNK_SAMPLES):
            producer.begin_transaction()
            for path in files[start : start + CHUNK_SAMPLES]:
                label = path.parent.name
                producer.produce(
                    PEER_TOPIC.name,
                    path.read_bytes(),
                    f"{label}/{path.name}",
                    headers=headers[label],  # type: ignore[arg-type]
                )
            producer.commit_transaction(produce.TIMEOUT_S)
    return watch.run(len(files))
