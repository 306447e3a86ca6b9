"""Topics and batches, by the operators, on the real broker."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from airflow.partition_mappers.temporal import StartOfDayMapper
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.definition.files import load_pipeline, pipelines_folder
from include.definition.pipeline import Pipeline
from include.errors import Stopped
from include.exactly_once.ledger import ledger_name
from include.kafka.connection import KafkaConnection
from include.kafka.errors import BrokerUnavailable
from include.kafka.topics import TopicSpec, describe_topic, describe_topics
from include.kafka.topics import ensure_topics as create_topics
from millrace.assets import requests_asset, samples_asset
from millrace.operators import EnsureTopicsOperator, ProduceBatchOperator
from tests.support.administrator import delete_topic
from tests.support.consumers import committed_records
from tests.support.corpus import saved, slope
from tests.support.operators import DagRun, context_of, ensure_topics, produce_batch
from tests.support.producers import Record, produce

NewPipeline = Callable[..., Pipeline]


def test_topics_are_created_once(kafka: KafkaConnection, new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline(partitions="2")

    assert ensure_topics(pipeline)[pipeline.samples_topic] == "created"
    assert set(ensure_topics(pipeline).values()) == {"exists"}
    assert describe_topic(kafka, pipeline.samples_topic).partitions == (0, 1)


def test_no_empty_ledger_is_made_for_a_pipeline_that_has_sent_samples(
    kafka: KafkaConnection, new_name: Callable[[], str], new_pipeline: NewPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an empty one it would send its source from the first sample again."""
    monkeypatch.setenv("MILLRACE_ENVIRONMENT", new_name())
    pipeline = new_pipeline()
    ensure_topics(pipeline)
    produce_batch(pipeline, records=100).execute(context_of(DagRun("d", "run-1")))
    ledger = ledger_name(pipeline.environment)
    delete_topic(kafka, ledger)

    with pytest.raises(AirflowFailException, match=f"{ledger} does not exist .* but {pipeline.samples_topic} holds"):
        ensure_topics(pipeline)

    assert describe_topics(kafka, [ledger]) == {}


def test_a_batch_is_divided_into_samples_and_requests(kafka: KafkaConnection, new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    ensure_topics(pipeline)
    context = context_of(DagRun("d", "run-1"))
    operator = produce_batch(pipeline, records=200)

    result = operator.execute(context)

    samples = committed_records(kafka, pipeline.samples_topic)
    requests = committed_records(kafka, pipeline.requests_topic)
    assert (len(samples), len(requests)) == (result["samples"], result["requests"])
    assert result["samples"] + result["requests"] == result["sent_now"] == 200
    assert {dict(record.headers() or [])["schema"] for record in samples} == {b"image.png/1"}
    assert all("label" in dict(record.headers() or []) for record in samples)
    assert not any("label" in dict(record.headers() or []) for record in requests)
    assert context["outlet_events"][samples_asset(pipeline)].extra == {
        "batch": "run-1",
        "samples": result["samples"],
    }


def test_the_same_run_sends_its_batch_once_and_another_run_of_it_skips(
    kafka: KafkaConnection, new_pipeline: NewPipeline
) -> None:
    pipeline = new_pipeline()
    ensure_topics(pipeline)
    interval = datetime(2026, 1, 1, 5, tzinfo=UTC)
    scheduled = DagRun("d", "scheduled-1", "scheduled", interval)
    produce_batch(pipeline, records=100).execute(context_of(scheduled))

    assert produce_batch(pipeline, records=50).execute(context_of(scheduled))["sent_now"] == 0
    with pytest.raises(AirflowSkipException, match="sent by another run"):
        produce_batch(pipeline, records=100).execute(context_of(DagRun("d", "backfill-1", "backfill", interval)))
    sent = committed_records(kafka, pipeline.samples_topic) + committed_records(kafka, pipeline.requests_topic)
    assert len(sent) == len({record.key() for record in sent}) == 100


def test_an_event_names_the_partition_of_its_data_interval_where_the_file_asks_for_it(
    kafka: KafkaConnection, new_pipeline: NewPipeline
) -> None:
    plain, partitioned = new_pipeline(), new_pipeline(requests_share="0.5\npartitioned = true")
    interval = datetime(2026, 1, 1, 5, tzinfo=UTC).astimezone(timezone(timedelta(hours=2)))

    def keys(pipeline: Pipeline, kind: str) -> list[set[str]]:
        ensure_topics(pipeline)
        context = context_of(DagRun("d", kind, kind, interval))
        produce_batch(pipeline, records=20).execute(context)
        events = context["outlet_events"]
        return [events[asset(pipeline)].partition_keys for asset in (samples_asset, requests_asset)]

    assert keys(partitioned, "scheduled") == [{"2026-01-01T05:00:00"}] * 2
    assert keys(partitioned, "manual") == [set()] * 2
    assert keys(plain, "scheduled") == [set()] * 2


def test_a_dag_over_the_partitions_of_a_day_reads_the_keys() -> None:
    day = StartOfDayMapper()

    assert [day.to_downstream(key) for key in ("2026-01-01T05:00:00", "2026-01-01T23:00:00")] == ["2026-01-01"] * 2


def test_manual_runs_are_batches_of_their_own(kafka: KafkaConnection, new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    ensure_topics(pipeline)
    interval = datetime(2026, 1, 1, 5, tzinfo=UTC)

    results = [
        produce_batch(pipeline, records=10).execute(context_of(DagRun("d", name, "manual", interval)))
        for name in ("a", "b")
    ]

    assert [result["start"] for result in results] == [0, 10]


def test_an_exhausted_source_skips(kafka: KafkaConnection, new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    ensure_topics(pipeline)
    total = produce_batch(pipeline, records=1_000_000).execute(context_of(DagRun("d", "all")))["sent_now"]

    with pytest.raises(AirflowSkipException, match=f"has {total} samples and all are in earlier batches"):
        produce_batch(pipeline).execute(context_of(DagRun("d", "more")))


def test_a_topic_that_got_nothing_raises_no_event(kafka: KafkaConnection, new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline(requests_share="0.0")
    ensure_topics(pipeline)
    operator = produce_batch(pipeline, records=10)

    operator.execute(context_of(DagRun("d", "r")))

    # Airflow raises an event for each outlet that the operator has when it ends.
    assert operator.outlets == [samples_asset(pipeline)]


def test_a_stop_leaves_the_batch_to_the_next_attempt(kafka: KafkaConnection, new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    ensure_topics(pipeline)
    operator = produce_batch(pipeline, records=10)
    operator.on_kill()

    with pytest.raises(Stopped, match="Stopped after 0 of 10 samples"):
        operator.execute(context_of(DagRun("d", "r")))
    assert committed_records(kafka, pipeline.samples_topic) == []
    assert produce_batch(pipeline, records=10).execute(context_of(DagRun("d", "r")))["sent_now"] == 10


def test_an_unknown_pipeline_fails_without_a_retry(kafka: KafkaConnection) -> None:
    operator = EnsureTopicsOperator(task_id="ensure_topics", pipeline="nobody")

    with pytest.raises(AirflowFailException, match="Pipeline 'nobody' is unknown"):
        operator.execute(context_of(DagRun("d", "r")))


def test_missing_topics_fail_and_name_the_way_out(kafka: KafkaConnection, new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()

    with pytest.raises(AirflowFailException, match=f"{pipeline.name}\\.(samples|requests) does not exist"):
        produce_batch(pipeline, records=10).execute(context_of(DagRun("d", "r")))


@pytest.mark.parametrize("make", [EnsureTopicsOperator, ProduceBatchOperator])
def test_without_a_broker_an_operator_fails_in_time_and_names_the_servers(
    make: type[EnsureTopicsOperator], new_pipeline: NewPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_KAFKA_DEFAULT",
        '{"conn_type": "kafka", "extra": {"bootstrap.servers": "127.0.0.1:1"}}',
    )
    operator = make(task_id="t", pipeline=new_pipeline().name, request_timeout=2)

    with pytest.raises(BrokerUnavailable, match=r"No Kafka broker at 127\.0\.0\.1:1 answered within 2 s"):
        operator.execute(context_of(DagRun("d", "r")))


def test_a_missing_connection_fails_and_says_how_to_add_it(new_pipeline: NewPipeline) -> None:
    operator = EnsureTopicsOperator(task_id="t", pipeline=new_pipeline().name, kafka_conn_id="not_there")

    with pytest.raises(AirflowFailException, match="Airflow has no connection 'not_there'"):
        operator.execute(context_of(DagRun("d", "r")))


def test_a_topic_is_read_from_the_cluster_of_another_connection(
    kafka: KafkaConnection, new_pipeline: NewPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = new_pipeline().name
    file = pipelines_folder() / f"{name}.toml"
    source = f'kind = "topic"\ntopic = "{name}.theirs"\nconnection = "kafka_theirs"'
    file.write_text(file.read_text().replace('kind = "digits"', source))
    pipeline = load_pipeline(name)
    ensure_topics(pipeline)
    spec = TopicSpec(f"{name}.theirs")
    create_topics(kafka, [spec])
    produce(kafka, spec.name, [Record(saved(slope("L", 8, 8), "PNG"))] * 3)

    with pytest.raises(AirflowFailException, match="kafka_theirs"):
        produce_batch(pipeline).execute(context_of(DagRun("d", "r")))
    settings = {"conn_type": "kafka", "extra": dict(kafka.settings)}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_THEIRS", json.dumps(settings))
    result = produce_batch(pipeline).execute(context_of(DagRun("d", "r")))

    assert result["samples"] + result["requests"] == 3
