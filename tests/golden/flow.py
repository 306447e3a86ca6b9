"""The pipelines of this folder, run once on a real broker: what they leave behind, as one text for each subject."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import confluent_kafka
import confluent_kafka.admin
import numpy as np
import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.context import OutletEventAccessors

from include.definition.files import load_pipeline
from include.errors import Stopped
from include.exactly_once.attempt import Attempt
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange
from include.prediction.json_record import ModelIdentity
from include.prediction.predictor import Predictor
from include.prediction.publish import publish_predictions
from include.prediction.read import read_predictions
from include.registry.record import record_promotion
from include.registry.tracking import open_registry
from include.registry.versions import set_champion
from include.registry.versions import version as registered_version
from include.training.job import TrainingJob, run_directory
from include.training.worker import work
from millrace.operators import (
    EnsureTopicsOperator,
    ExportPredictionsOperator,
    FreezeRangesOperator,
    ProduceBatchOperator,
    PublishPredictionsOperator,
    ReplayDeadLettersOperator,
    TrainModelOperator,
)
from tests.golden import readout
from tests.golden.placeholders import Placeholders, json_file
from tests.support.mlflow_database import put_database
from tests.support.producers import Record, produce
from tests.support.signed_records import KEYS, RETIRED, SECRET, signed
from tests.support.torch_settings import restored_torch_settings

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.local.broker import Cluster

FOLDER = Path(__file__).parent
MAIN, TOPIC, LABELS, NUMBERS = "golden", "golden_topic", "golden_multi_label", "golden_regression"
ROWS = "golden_rows"
EXTERNAL_SAMPLES, EXTERNAL_LABELS = "golden-external-samples", "golden-external-labels"
# 2026-01-01 in milliseconds: the pipelines' topics keep their records for a century.
TIME_MS = 1_767_225_600_000
INTERVAL = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = ModelIdentity(name="tiny", version=7, digest="d" * 64, manifest="0123456789abcdef")
RAW, BASE64 = b"tensor.raw/1", b"tensor.base64/1"
START = {"source": "golden/1", "sha256": "e" * 64, "scale": {"mean": [0.5, 1, 2], "deviation": [1, 2, 3]}}
FOUR = np.array([0.5, -0.25, 2.0, 1.0], "<f4").tobytes()


def record_flow(broker: Cluster, folder: Path) -> dict[str, str]:
    """Run everything, and return what it left behind by subject; all that differs between runs has a placeholder."""
    settings = {"bootstrap.servers": broker.bootstrap_servers}
    kafka = KafkaConnection(settings, timeout_s=20, signing=KEYS)
    with pytest.MonkeyPatch.context() as patch, _recorded_groups(patch) as groups:
        _set_environment(patch, folder, settings)
        put_database(folder / "state")
        _ingest(kafka)
        with restored_torch_settings():
            trained = {name: _train(kafka, name) for name in (MAIN, LABELS, NUMBERS, ROWS)}
        _register_and_predict(kafka)
        for name in (TOPIC, LABELS, NUMBERS):
            _publish_with_known_model(kafka, name)
        read_predictions(kafka, load_pipeline(MAIN))
        placeholders = Placeholders()
        texts = {
            **_broker_texts(kafka, placeholders),
            "jobs": _jobs(),
            "registry": _registry(folder / "state", placeholders),
            "export": _export(folder / "export", placeholders),
        }
    texts["identifiers"]["groups of consumers"] = "\n".join(sorted(groups))
    for kind in ("checkpoint", "result"):
        texts[f"{kind}s"] = {
            f"{title} of {name}": text for name in trained for title, text in trained[name][kind].items()
        }
    return {
        subject: placeholders.replaced("".join(f"== {title}\n{text}\n\n" for title, text in parts.items()))
        for subject, parts in texts.items()
    }


def _broker_texts(kafka: KafkaConnection, placeholders: Placeholders) -> dict[str, dict[str, str]]:
    known = (f"local/golden/predict/{scope}" for scope in ("golden.requests/0", "golden.requests/1", "hold"))
    return {
        "identifiers": {
            "topics": readout.own_topics(kafka, placeholders),
            "transactional ids": "\n".join(readout.transactional_ids(kafka)),
            "groups with offsets": "\n".join(readout.groups_with_offsets(kafka)),
        },
        "ledger": {
            "entries": readout.ledger_entries(kafka),
            "partitions": readout.ledger_partitions(kafka, known),
        },
        "records": {
            "samples": readout.topic_records(kafka, "golden.samples"),
            "requests": readout.topic_records(kafka, "golden.requests"),
            "predictions": readout.topic_records(kafka, "golden.predictions", value="json"),
            "dead letters": readout.topic_records(kafka, "golden.dead-letters"),
            "samples from a topic": readout.topic_records(kafka, "golden_topic.samples"),
        },
        "tasks": {
            f"{what} of {name}": readout.topic_records(kafka, f"{name}.{what.replace(' ', '-')}", value=value)
            for name in (TOPIC, LABELS, NUMBERS)
            for what, value in (("predictions", "text"), ("dead letters", "hex"))
        },
    }


@contextmanager
def _recorded_groups(patch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The group ids of all consumers that this process makes; most commit nothing, so that no broker knows them."""
    groups: set[str] = set()

    class Recorded(confluent_kafka.Consumer):
        def __init__(self, settings: dict[str, Any], **arguments: Any) -> None:
            groups.add(settings["group.id"])
            super().__init__(settings, **arguments)

    # Consumers of columns are made from the same settings and are no object of confluent_kafka.
    settings_of = KafkaConnection.consumer_settings

    def recorded(connection: KafkaConnection, group: str, **overrides: Any) -> dict[str, Any]:
        groups.add(group)
        return settings_of(connection, group, **overrides)

    patch.setattr(confluent_kafka, "Consumer", Recorded)
    patch.setattr(KafkaConnection, "consumer_settings", recorded)
    yield groups


def _set_environment(patch: pytest.MonkeyPatch, folder: Path, settings: dict[str, str]) -> None:
    pipelines = folder / "pipelines"
    pipelines.mkdir()
    for path in (FOLDER / "pipelines").glob("*.toml"):
        export = f'\n[export]\npath = "{folder / "export"}"\n' if path.stem == MAIN else ""
        (pipelines / path.name).write_text(path.read_text() + export)
    signing = {"login": "2026", "password": SECRET, "extra": {"retired_secrets": {"2025": RETIRED}}}
    patch.delenv("MILLRACE_ENVIRONMENT", raising=False)
    patch.setenv("MILLRACE_PIPELINES", str(pipelines))
    patch.setenv("MILLRACE_STATE", str(folder / "state"))
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    patch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": settings}))
    patch.setenv("AIRFLOW_CONN_GOLDEN_SIGNING", json.dumps({"conn_type": "generic", **signing}))


def _execute(operator: type, pipeline: str, run: str, *, scheduled: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run one operator of a pipeline as its DAG does it.

    Args:
        run: `<workflow>/<run's id>`.
    """
    workflow, _, run_id = run.partition("/")
    dag_run = SimpleNamespace(
        dag_id=f"{pipeline}.{workflow}",
        run_id=run_id,
        run_type="scheduled" if scheduled else "manual",
        data_interval_start=INTERVAL if scheduled else None,
        run_after=INTERVAL,
    )
    context = {"dag_run": dag_run, "outlet_events": OutletEventAccessors()}
    result: dict[str, Any] = operator(task_id="t", pipeline=pipeline, **arguments).execute(context)
    return result


def _ingest(kafka: KafkaConnection) -> None:
    """Two batches of a table, one of a topic, and samples that others write."""
    _execute(EnsureTopicsOperator, MAIN, "ingest/first")
    _execute(ProduceBatchOperator, MAIN, "ingest/first", scheduled=True)
    _execute(ProduceBatchOperator, MAIN, "ingest/second", records=8)
    _execute(EnsureTopicsOperator, TOPIC, "ingest/first")
    _execute(ProduceBatchOperator, TOPIC, "ingest/first", records=5)
    _fill_external(kafka)
    _fill_numbers(kafka)
    _fill_rows(kafka)


def _register_and_predict(kafka: KafkaConnection) -> None:
    """Version and champion, predictions, a hold and its acknowledgement, a replay and an export."""
    frozen = _execute(FreezeRangesOperator, MAIN, "train/first", step="train")
    # It finds the result that `_train` has left, so that no process needs to import torch for it.
    version = _execute(TrainModelOperator, MAIN, "train/first", ranges=frozen["ranges"])["version"]
    # Not by promotion: no held-out sample has the label b, and so few samples teach no more than a constant answer.
    registry = open_registry()
    chosen = registered_version(registry, MAIN, version)
    record_promotion(kafka, chosen)
    set_champion(registry, chosen)
    frozen = _execute(FreezeRangesOperator, MAIN, "predict/first", step="predict")
    _execute(PublishPredictionsOperator, MAIN, "predict/first", ranges=frozen["ranges"])

    produce(kafka, "golden.requests", _bad_signed_requests())
    frozen = _execute(FreezeRangesOperator, MAIN, "predict/second", step="predict")
    with pytest.raises(AirflowFailException, match=r"max_rejected_in_a_row"):
        _execute(PublishPredictionsOperator, MAIN, "predict/second", ranges=frozen["ranges"])
    _execute(PublishPredictionsOperator, MAIN, "predict/third", ranges=frozen["ranges"], acknowledge=True)

    _execute(ReplayDeadLettersOperator, MAIN, "replay/first")
    _execute(ExportPredictionsOperator, MAIN, "export/first")


def _bad_signed_requests() -> list[Record]:
    request = Record(FOUR, b"request", [("schema", RAW), ("trace", b"1")], TIME_MS)
    stranger = replace(request, key=b"unknown key", headers=[*request.headers, ("signature", b"2020:0")])
    forged = replace(request, key=b"forged", headers=[*request.headers, ("signature", b"2026:0")])
    grouped = replace(request, key=b"grouped", headers=[*request.headers, ("group", b"series"), ("label", b"a")])
    return [
        replace(request, key=b"unsigned"),
        stranger,
        forged,
        signed(replace(request, key=b"short", value=b"123")),
        signed(replace(request, key=b"empty", value=None)),
        signed(grouped, "2025", RETIRED),
    ]


def _rows() -> list[dict[str, str]]:
    with (FOLDER / "samples.csv").open() as file:
        return list(csv.DictReader(file))


def _fill_external(kafka: KafkaConnection) -> None:
    """JSON samples of another application, and labels that come after them."""
    with confluent_kafka.admin.AdminClient(dict(kafka.settings)) as admin:
        topics = [confluent_kafka.admin.NewTopic(name, 1, 1) for name in (EXTERNAL_SAMPLES, EXTERNAL_LABELS)]
        for topic in topics:
            topic.config = {"retention.ms": "-1"}
        for future in admin.create_topics(topics).values():
            future.result(readout.TIMEOUT_S)
    samples, labels = [], []
    for position, row in enumerate(_rows()):
        numbers = np.array(json.loads(row["numbers"]), "<f4")
        value = {
            "numbers": base64.b64encode(numbers.tobytes()).decode(),
            "name": row["id"],
            "series": row["group"] or row["id"],
        }
        samples.append(Record(json.dumps(value).encode(), None, [], TIME_MS + position))
        positive = "|".join(name for name, number in zip("abc", numbers[:3], strict=True) if number > 0)
        labels.append(Record(positive.encode(), row["id"].encode(), [], TIME_MS + position))
    bad = [replace(labels[0], value=b'["a"'), replace(labels[1], value=b"a|z"), replace(labels[2], value=None)]
    produce(kafka, EXTERNAL_SAMPLES, [*samples, Record(b"no JSON", None, [], TIME_MS)])
    produce(kafka, EXTERNAL_LABELS, [*labels, *bad])
    _execute(EnsureTopicsOperator, LABELS, "train/first")


def _fill_numbers(kafka: KafkaConnection) -> None:
    """Samples with three numbers as label, of the regression's own format."""
    _execute(EnsureTopicsOperator, NUMBERS, "train/first")
    samples = []
    for position, row in enumerate(_rows()):
        numbers = json.loads(row["numbers"])
        headers = [("schema", RAW), ("label", json.dumps(numbers[:3]).encode())]
        samples.append(Record(np.array(numbers, "<f4").tobytes(), row["id"].encode(), headers, TIME_MS + position))
    bad = [
        replace(samples[0], headers=[("schema", RAW)]),
        replace(samples[1], headers=[("schema", RAW), ("label", b"[1, 2]")]),
        replace(samples[2], headers=[("schema", RAW), ("label", b"many")]),
        replace(samples[3], headers=[("label", b"[1, 2, 3]")]),
    ]
    produce(kafka, f"{NUMBERS}.samples", [*samples, *bad])


def _fill_rows(kafka: KafkaConnection) -> None:
    """Rows of two numbers, the first of which some lack, and of a category."""
    _execute(EnsureTopicsOperator, ROWS, "train/first")
    samples = []
    for position, row in enumerate(_rows()):
        first, second, *_ = json.loads(row["numbers"])
        cells = {"first": first if position % 5 else None, "second": second, "series": row["group"]}
        headers = [("schema", b"row/1"), ("label", row["label"].encode())]
        samples.append(Record(json.dumps(cells).encode(), row["id"].encode(), headers, TIME_MS + position))
    produce(kafka, f"{ROWS}.samples", samples)


def _train(kafka: KafkaConnection, name: str) -> dict[str, dict[str, str]]:
    """The checkpoint of a run that is stopped in its second epoch, and the result that it ends with when it goes on."""
    frozen = _execute(FreezeRangesOperator, name, "train/first", step="train")
    job = TrainingJob.of(load_pipeline(name), [OffsetRange(**item) for item in frozen["ranges"]])
    run = f"{name}.train/first"
    directory = run_directory(job, run)
    # What the trainer's own process is asked for; here it runs in this one, which has imported torch.
    request = {
        "directory": str(directory),
        "job": job.model_dump(mode="json"),
        "connection": {
            "settings": dict(kafka.settings),
            "timeout_s": kafka.timeout_s,
            "environment": kafka.environment,
            "signing": asdict(KEYS),
        },
        "run": run,
        "cache_bytes": 2**20,
        "lease_timeout_s": 10,
    }
    with pytest.raises(Stopped):
        work(request, *_stop_in_second_epoch())
    checkpoint = max((directory / "checkpoints").iterdir())
    assert (checkpoint / "SHA256").read_text() == readout.files_digest(checkpoint, "tensors.safetensors", "state.json")
    texts = {
        "checkpoint": {
            "files": readout.files_below(checkpoint),
            "state.json": json_file((checkpoint / "state.json").read_text()),
            "tensors.safetensors": readout.tensors(checkpoint / "tensors.safetensors"),
        }
    }
    work(request, lambda: False, lambda _: None)
    texts["result"] = _result(directory / "result")
    digests = Placeholders()
    digests.add_digest(f"job of {name}", job.digest)
    digests.add_digest(f"manifest of {name}", job.manifest.digest)
    return {kind: {title: digests.replaced(text) for title, text in parts.items()} for kind, parts in texts.items()}


def _stop_in_second_epoch() -> tuple[Callable[[], bool], Callable[[dict[str, Any]], None]]:
    """`stopped` and `send` of a trainer: asked the second time after an epoch, it has learnt from another batch."""
    asked = 0
    epochs: list[dict[str, Any]] = []

    def stopped() -> bool:
        nonlocal asked
        asked += bool(epochs)
        return asked == 2

    def send(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            epochs.append(event)

    return stopped, send


def _result(folder: Path) -> dict[str, str]:
    """The files of a result, and of the model whose digest it has."""
    model = folder / "model"
    outcome = (folder / "result.json").read_text()
    digest = readout.files_digest(model, "weights.safetensors", "model_card.json")
    assert json.loads(outcome)["digest"] == digest
    return {
        "files": readout.files_below(folder),
        "result.json": json_file(outcome).replace(digest, "<digest>"),
        "model_card.json": json_file((model / "model_card.json").read_text()),
        "weights.safetensors": readout.tensors(model / "weights.safetensors"),
    }


def _publish_with_known_model(kafka: KafkaConnection, name: str) -> None:
    """Predict with a network whose outputs are the first three numbers."""
    import torch

    pipeline = load_pipeline(name)
    schema, good = (BASE64, base64.b64encode(FOUR)) if name == LABELS else (RAW, FOUR)
    request = Record(good, b"request", [("schema", schema)], TIME_MS)
    topic = pipeline.requests_topic
    odd = [
        replace(request, key=None),
        replace(request, key=b"\xff", timestamp_ms=TIME_MS + 1),
        replace(request, value=None),
        replace(request, value=good[:3]),
        replace(request, headers=[]),
        replace(request, headers=[("schema", b"image.png/1")]),
        replace(request, headers=[("schema", schema), ("schema", b"image.png/1")]),
    ]
    produce(kafka, topic, [request, *odd])
    frozen = _execute(FreezeRangesOperator, name, "predict/first", step="predict")
    ranges = [OffsetRange(**item) for item in frozen["ranges"]]
    layer = torch.nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3, 4))
        layer.bias.zero_()
    predictor = Predictor(torch.nn.Sequential(torch.nn.Flatten(), layer), pipeline.training.target(), IDENTITY)
    publish_predictions(Attempt(kafka, name, "predict", f"{name}.predict/first"), pipeline, ranges, predictor)


def _jobs() -> dict[str, str]:
    """Jobs over ranges that are the same in every run, so that their digests are pinned too."""
    texts = {}
    for name in (MAIN, LABELS, NUMBERS, ROWS):
        pipeline = load_pipeline(name)
        job = TrainingJob.of(pipeline, _known_ranges(pipeline))
        if name == NUMBERS:
            job = TrainingJob.model_validate({**job.model_dump(mode="json"), "start": START})
        texts[f"job of {name}"] = json.dumps(job.model_dump(mode="json"), indent=2)
        texts[f"manifest of {name}"] = json.dumps(job.manifest.to_dict(), indent=2)
        texts[f"digests of {name}"] = f"job {job.digest}\nmanifest {job.manifest.digest}\nid {job.manifest.id}"
    return texts


def _known_ranges(pipeline: Pipeline) -> list[OffsetRange]:
    topics = [pipeline.samples_topic, *([] if pipeline.labels_topic is None else [pipeline.labels_topic])]
    return [OffsetRange(topic, "some-topic-id", partition, 3, 20) for topic in topics for partition in range(2)]


def _registry(state: Path, placeholders: Placeholders) -> dict[str, str]:
    """Version, alias and run of the trained model as MLflow has them, and what lies beside it on this machine."""
    client = open_registry().client
    version = client.get_model_version_by_alias(MAIN, "champion")
    run = client.get_run(version.run_id)
    for name in ("digest", "job"):
        placeholders.add_digest(f"{name} of {MAIN}", version.tags[name])
    placeholders.add(f"manifest of {MAIN}, 16 digits", version.tags["manifest"])
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("millrace.")}
    artifacts = [item.path for folder in ("", "model") for item in client.list_artifacts(version.run_id, folder)]
    metrics = sorted(run.data.metrics)
    return {
        "champion": f"{version.name} {version.version}",
        "tags of the version": _lines({**version.tags, "accuracy": "<accuracy>"}),
        "tags of the run": _lines(tags),
        "params of the run": _lines(run.data.params),
        "metrics of the run": "\n".join(metrics),
        "artifacts": "\n".join(sorted(artifacts)),
        "files of the run": readout.files_below(state / "runs" / MAIN),
        "files of the champion": readout.files_below(state / "models"),
    }


def _export(folder: Path, placeholders: Placeholders) -> dict[str, str]:
    for day in folder.iterdir():
        placeholders.add("date", day.name.removeprefix("day="))
    return {
        "files": readout.files_below(folder),
        "columns": readout.parquet_columns(next(folder.rglob("*.parquet"))),
    }


def _lines(values: dict[str, str]) -> str:
    return "\n".join(f"{name} = {value}" for name, value in sorted(values.items()))
