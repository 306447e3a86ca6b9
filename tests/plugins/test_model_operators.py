"""Ranges, training, promotion and predictions, by the operators, on the real broker and a real registry."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.definition.pipeline import Pipeline
from include.errors import MillraceError, Stopped
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.connection import KafkaConnection
from include.kafka.headers import write_headers
from include.kafka.records import OutgoingRecord
from include.prediction import backlog
from include.registry.record import record_promotion
from include.registry.tracking import open_registry
from include.registry.versions import set_champion
from include.registry.versions import version as registered_version
from include.storage.state import state_dir
from millrace.assets import model_asset, predictions_asset, repredictions_asset
from millrace.operators import (
    EnsureTopicsOperator,
    FreezeRangesOperator,
    ProduceBatchOperator,
    PromoteModelOperator,
    PublishPredictionsOperator,
    RepredictRequestsOperator,
    RollBackModelOperator,
    TrainModelOperator,
)
from tests.support.administrator import change_topic
from tests.support.consumers import committed_records
from tests.support.mlflow_database import put_database
from tests.support.operators import DagRun, context_of

NewPipeline = Callable[..., Pipeline]


@pytest.fixture
def pipeline(kafka: KafkaConnection, new_pipeline: NewPipeline) -> Pipeline:
    """A pipeline with topics, and a registry that is ready."""
    pipeline = new_pipeline(epochs="10", min_new_samples="100")
    put_database(state_dir())
    EnsureTopicsOperator(task_id="t", pipeline=pipeline.name).execute(context_of(DagRun("d", "r")))
    return pipeline


def ingest(pipeline: Pipeline, run: str, records: int) -> dict[str, Any]:
    operator = ProduceBatchOperator(task_id="t", pipeline=pipeline.name, records=records)
    return operator.execute(context_of(DagRun(f"{pipeline.name}.ingest", run)))


def freeze(pipeline: Pipeline, step: Any, **arguments: Any) -> dict[str, Any]:
    operator = FreezeRangesOperator(task_id="t", pipeline=pipeline.name, step=step, **arguments)
    return operator.execute(context_of(DagRun(f"{pipeline.name}.{step}", "r")))


def train(pipeline: Pipeline, run: str, **arguments: Any) -> dict[str, Any]:
    ranges = freeze(pipeline, "train", min_new_samples=0)["ranges"]
    operator = TrainModelOperator(task_id="t", pipeline=pipeline.name, ranges=ranges, **arguments)
    return operator.execute(context_of(DagRun(f"{pipeline.name}.train", run)))


def promote(pipeline: Pipeline, version: int, **arguments: Any) -> dict[str, Any]:
    operator = PromoteModelOperator(
        task_id="t", pipeline=pipeline.name, version=version, outlets=[model_asset(pipeline)], **arguments
    )
    return operator.execute(context_of(DagRun(f"{pipeline.name}.train", "r")))


def publish(pipeline: Pipeline, ranges: list[dict[str, Any]], *, run: str = "r", **arguments: Any) -> dict[str, Any]:
    operator = PublishPredictionsOperator(
        task_id="t", pipeline=pipeline.name, ranges=ranges, outlets=[predictions_asset(pipeline)], **arguments
    )
    return operator.execute(context_of(DagRun(f"{pipeline.name}.predict", run)))


def test_an_empty_topic_is_nothing_to_freeze(pipeline: Pipeline) -> None:
    for step in ("train", "predict"):
        with pytest.raises(AirflowSkipException, match=r"has 0 new (samples|requests)"):
            freeze(pipeline, step)
    with pytest.raises(AirflowSkipException, match="has 0 new samples"):
        freeze(pipeline, "train", min_new_samples=0)


def test_training_waits_for_enough_new_samples_and_counts_samples_not_offsets(pipeline: Pipeline) -> None:
    sent = ingest(pipeline, "a", 60)["samples"]

    # Offsets are more than samples, by the transaction's markers.
    with pytest.raises(AirflowSkipException, match=f"has {sent} new samples and a training needs {sent + 1}"):
        freeze(pipeline, "train", min_new_samples=sent + 1)
    assert freeze(pipeline, "train", min_new_samples=sent)["new_samples"] == sent


def test_training_refuses_a_compacted_topic_and_prediction_does_not(pipeline: Pipeline, kafka: KafkaConnection) -> None:
    ingest(pipeline, "a", 60)
    for topic in (pipeline.samples_topic, pipeline.requests_topic):
        change_topic(kafka, topic, "cleanup.policy", "compact")

    with pytest.raises(AirflowFailException, match=f"Topic {pipeline.samples_topic} has cleanup.policy=compact"):
        freeze(pipeline, "train", min_new_samples=0)
    assert freeze(pipeline, "predict")["ranges"]


def test_an_incremental_training_starts_from_the_champion_and_learns_what_is_new_to_it(
    kafka: KafkaConnection,
    new_pipeline: NewPipeline,
) -> None:
    incremental = '8\nstart_from = "champion"\nincremental = true\nreplay_share = 0.25'
    pipeline = new_pipeline(epochs=incremental, min_new_samples="1")
    put_database(state_dir())
    EnsureTopicsOperator(task_id="t", pipeline=pipeline.name).execute(context_of(DagRun("d", "r")))

    def learn(run: str) -> tuple[dict[str, Any], dict[str, Any]]:
        frozen = freeze(pipeline, "train")
        operator = TrainModelOperator(
            task_id="t", pipeline=pipeline.name, ranges=frozen["ranges"], start=frozen["start"]
        )
        return frozen, operator.execute(context_of(DagRun(f"{pipeline.name}.train", run)))

    ingest(pipeline, "a", 400)
    frozen, first = learn("first")
    assert frozen["start"] is None
    promote(pipeline, first["version"], floor=0.0)
    learnt = {item["partition"]: item["end"] for item in frozen["ranges"]}

    # A cleared task trains from what was frozen, not from the champion that its own run has made since.
    cleared = TrainModelOperator(task_id="t", pipeline=pipeline.name, ranges=frozen["ranges"], start=frozen["start"])
    assert cleared.execute(context_of(DagRun(f"{pipeline.name}.train", "first")))["version"] == first["version"]

    ingest(pipeline, "b", 400)
    frozen, second = learn("second")
    assert frozen["start"]["source"] == f"{pipeline.name}/1"
    new = sum(
        item["end"] - max(item["start"], learnt[item["partition"]])
        for item in frozen["ranges"]
        if item["end"] > learnt[item["partition"]]
    )
    older = sum(item["end"] - item["start"] for item in frozen["ranges"]) - new
    assert older == round(new / 3) > 0
    assert second["samples"] < new + older
    # A version that was not promoted has learnt nothing for the champion.
    ingest(pipeline, "c", 100)
    assert max(item["end"] for item in freeze(pipeline, "train")["ranges"]) > max(learnt.values())
    assert promote(pipeline, second["version"], floor=0.0)["promoted"]
    ingest(pipeline, "d", 100)
    assert freeze(pipeline, "train")["start"]["source"] == f"{pipeline.name}/2"


def test_from_samples_to_a_champion_to_predictions_exactly_once(pipeline: Pipeline, kafka: KafkaConnection) -> None:
    sent = ingest(pipeline, "a", 700)
    requests = freeze(pipeline, "predict")["ranges"]
    with pytest.raises(AirflowSkipException, match="has no champion yet: its requests wait"):
        publish(pipeline, requests)

    trained = train(pipeline, "first")
    assert trained["version"] == 1
    # What has been learnt from is not new any more.
    with pytest.raises(AirflowSkipException, match="has 0 new samples"):
        freeze(pipeline, "train")
    # The same run again, as after a crash between its end and Airflow's note of it: one version, nothing trained anew.
    assert train(pipeline, "first") == trained

    with pytest.raises(AirflowSkipException, match=r"below the floor of 1"):
        promote(pipeline, 1, floor=1.0)
    assert promote(pipeline, 1, floor=0.1)["promoted"]
    second = train(pipeline, "second", epochs=1, learning_rate=1e-6)["version"]
    with pytest.raises(AirflowSkipException, match="no more than champion 1"):
        promote(pipeline, second, floor=0.0)

    published = publish(pipeline, requests)
    assert published == {
        "samples": sent["requests"],
        "predictions": sent["requests"],
        "dead_letters": 0,
        "reasons": {},
        "version": 1,
        "versions": {"1": sent["requests"]},
    }
    with pytest.raises(AirflowSkipException, match="predicted already"):
        publish(pipeline, requests, run="another")
    # The same run again, as after a kill between its last commit and Airflow's note of it: its event is not lost.
    operator = PublishPredictionsOperator(
        task_id="t", pipeline=pipeline.name, ranges=requests, outlets=[predictions_asset(pipeline)]
    )
    context = context_of(DagRun(f"{pipeline.name}.predict", "r"))
    assert operator.execute(context)["samples"] == 0
    assert context["outlet_events"][predictions_asset(pipeline)].extra["ranges"] == requests
    with pytest.raises(AirflowSkipException, match="has 0 new requests"):
        freeze(pipeline, "predict")

    asked = {record.key() for record in committed_records(kafka, pipeline.requests_topic)}
    answers = committed_records(kafka, pipeline.predictions_topic)
    assert Counter(record.key() for record in answers) == dict.fromkeys(asked, 1)
    assert {json.loads(record.value() or b"")["version"] for record in answers} == {1}


@pytest.fixture
def requests(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The ranges of some requests, for which there is a champion."""
    ingest(pipeline, "a", 600)
    promote(pipeline, train(pipeline, "r")["version"], floor=0.0)
    ranges: list[dict[str, Any]] = freeze(pipeline, "predict")["ranges"]
    return ranges


def test_mapped_tasks_predict_their_sets(
    pipeline: Pipeline, requests: list[dict[str, Any]], kafka: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "number_of_tasks", lambda *_: 2)
    sets: Any = freeze(pipeline, "predict", divided=True)
    assert sets == freeze(pipeline, "predict")["sets"]
    assert sorted(item["partition"] for found in sets for item in found) == [item["partition"] for item in requests]

    results = [publish(pipeline, found) for found in sets]

    assert len(results) == 2
    answers = committed_records(kafka, pipeline.predictions_topic)
    assert sum(result["predictions"] for result in results) == len(answers)
    assert len(answers) == len(committed_records(kafka, pipeline.requests_topic))


def test_a_task_that_is_overtaken_fails_without_a_retry(pipeline: Pipeline, requests: list[dict[str, Any]]) -> None:
    class Overtaken(PublishPredictionsOperator):
        """Before its first transaction another one does all of its work."""

        def stop_requested(self) -> bool:
            with suppress(AirflowSkipException):
                publish(pipeline, requests)
            return False

    operator = Overtaken(task_id="t", pipeline=pipeline.name, ranges=requests)

    with pytest.raises(AirflowFailException, match="Another run has taken over"):
        operator.execute(context_of(DagRun(f"{pipeline.name}.predict", "r")))


def test_a_limit_fails_without_a_retry_until_a_run_acknowledges_it(
    pipeline: Pipeline, requests: list[dict[str, Any]], kafka: KafkaConnection
) -> None:
    publish(pipeline, requests)
    with TransactionalWriter(kafka, "dross") as writer, writer.transaction():
        for _ in range(200):
            writer.produce(OutgoingRecord(pipeline.requests_topic, b"key", b"no image", write_headers("image.png/1")))
    dross = freeze(pipeline, "predict")["ranges"]

    with pytest.raises(AirflowFailException, match="so nothing of this chunk was published and the step is held"):
        publish(pipeline, dross)
    with pytest.raises(AirflowFailException, match="are held since"):
        publish(pipeline, dross, run="another")
    published = publish(pipeline, dross, run="another", acknowledge="True")

    assert (published["samples"], published["predictions"], published["dead_letters"]) == (200, 0, 200)
    assert published["reasons"] == {"undecodable": 200}


def test_without_a_broker_no_step_succeeds(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(pipeline, "a", 600)
    ranges, requests = freeze(pipeline, "train")["ranges"], freeze(pipeline, "predict")["ranges"]
    promote(pipeline, train(pipeline, "r")["version"], floor=0.0)
    nowhere = {"conn_type": "kafka", "extra": {"bootstrap.servers": "127.0.0.1:1"}}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps(nowhere))

    common: dict[str, Any] = {"task_id": "t", "pipeline": pipeline.name, "request_timeout": 2}
    for operator in (
        FreezeRangesOperator(step="train", **common),
        TrainModelOperator(ranges=ranges, **common),
        PromoteModelOperator(version=1, **common),
        PublishPredictionsOperator(ranges=requests, **common),
    ):
        with pytest.raises(MillraceError, match=r"No Kafka broker at 127\.0\.0\.1:1 answered within 2 s"):
            operator.execute(context_of(DagRun(f"{pipeline.name}.x", "other")))


def test_training_that_can_not_be_run_as_asked_is_refused(pipeline: Pipeline) -> None:
    ingest(pipeline, "a", 60)

    with pytest.raises(AirflowFailException, match="epochs = 0: Input should be greater than or equal to 1"):
        train(pipeline, "r", epochs=0)


def test_what_is_certain_to_fail_later_is_refused_before_a_training_begins_and_not_in_its_retry(
    pipeline: Pipeline, kafka: KafkaConnection
) -> None:
    ingest(pipeline, "a", 200)
    trained = train(pipeline, "first", epochs=1)
    change_topic(kafka, pipeline.samples_topic, "retention.ms", "1")

    with pytest.raises(AirflowFailException, match=r"keeps records for 0\.001 s .* version 1's"):
        train(pipeline, "second", epochs=10_000)
    assert train(pipeline, "first", epochs=1) == trained


def test_a_stopped_training_leaves_no_version_and_no_process(pipeline: Pipeline) -> None:
    ingest(pipeline, "a", 200)
    ranges = freeze(pipeline, "train")["ranges"]
    operator = TrainModelOperator(task_id="t", pipeline=pipeline.name, ranges=ranges)
    operator.on_kill()

    with pytest.raises(Stopped, match="Training was stopped"):
        operator.execute(context_of(DagRun(f"{pipeline.name}.train", "r")))
    with pytest.raises(AirflowFailException, match="has no version 1"):
        promote(pipeline, 1)


def test_an_unknown_version_is_refused(pipeline: Pipeline) -> None:
    ingest(pipeline, "a", 60)
    requests = freeze(pipeline, "predict")["ranges"]

    with pytest.raises(AirflowFailException, match=f"Model {pipeline.name} has no version 7"):
        publish(pipeline, requests, version="7")


def test_a_registry_that_was_never_migrated_is_refused(kafka: KafkaConnection, new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    EnsureTopicsOperator(task_id="t", pipeline=pipeline.name).execute(context_of(DagRun("d", "r")))
    ingest(pipeline, "a", 60)

    with pytest.raises(AirflowFailException, match="migrate"):
        train(pipeline, "r")


def test_a_backfill_trains_as_of_its_interval_and_leaves_the_samples_new(pipeline: Pipeline) -> None:
    ingest(pipeline, "a", 200)
    samples = freeze(pipeline, "train", min_new_samples=1)["new_samples"]
    backfill = DagRun(f"{pipeline.name}.train", "r", "backfill", data_interval_end=datetime(2020, 1, 1, tzinfo=UTC))

    with pytest.raises(AirflowSkipException, match="no samples from before 2020-01-01T00:00:00"):
        FreezeRangesOperator(task_id="t", pipeline=pipeline.name, step="train").execute(context_of(backfill))
    with pytest.raises(AirflowFailException, match="can't be trained as of"):
        freeze(pipeline, "train", as_of="2020-01-01T00:00:00")

    frozen = freeze(pipeline, "train", as_of="2100-01-01T00:00:00Z")
    assert frozen["as_of"] == "2100-01-01T00:00:00+00:00"
    operator = TrainModelOperator(task_id="t", pipeline=pipeline.name, ranges=frozen["ranges"], as_of=frozen["as_of"])
    assert operator.execute(context_of(DagRun(f"{pipeline.name}.train", "r")))["version"] == 1
    assert freeze(pipeline, "train", min_new_samples=1)["new_samples"] == samples


def test_what_a_bad_champion_answered_is_answered_again_after_a_rollback(
    pipeline: Pipeline, requests: list[dict[str, Any]], kafka: KafkaConnection
) -> None:
    bad = train(pipeline, "bad", epochs=1, learning_rate=1e-6)["version"]
    made = registered_version(open_registry(), pipeline.name, bad)
    record_promotion(kafka, made)
    set_champion(open_registry(), made)
    answered = publish(pipeline, requests)
    assert answered["versions"] == {str(bad): answered["predictions"]}

    back = RollBackModelOperator(
        task_id="t", pipeline=pipeline.name, version=1, why="it has not learnt", outlets=[model_asset(pipeline)]
    ).execute(context_of(DagRun(f"{pipeline.name}.rollback", "r", triggering_user_name="ada")))
    assert back == {"version": 1, "before": bad, "why": "it has not learnt", "by": "ada"}
    operator = RepredictRequestsOperator(
        task_id="t", pipeline=pipeline.name, answered_by=bad, outlets=[repredictions_asset(pipeline)]
    )
    again = operator.execute(context_of(DagRun(f"{pipeline.name}.repredict", "r")))

    assert (again["predictions"], again["version"]) == (answered["predictions"], 1)
    repeated = context_of(DagRun(f"{pipeline.name}.repredict", "r"))
    assert operator.execute(repeated)["predictions"] == 0
    assert repeated["outlet_events"][repredictions_asset(pipeline)].extra["ranges"] == again["ranges"]
    values = [json.loads(record.value() or b"") for record in committed_records(kafka, pipeline.repredictions_topic)]
    assert {value["version"] for value in values} == {1}
    with pytest.raises(AirflowSkipException, match="answers no more requests answered by version 2"):
        operator.execute(context_of(DagRun(f"{pipeline.name}.repredict", "r2")))


def test_everything_is_not_predicted_again_by_an_empty_form(pipeline: Pipeline) -> None:
    with pytest.raises(AirflowFailException, match="give a time since or until, or answered_by"):
        RepredictRequestsOperator(task_id="t", pipeline=pipeline.name).execute(context_of(DagRun("d", "r")))
