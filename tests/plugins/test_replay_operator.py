"""Dead letters back into the pipeline, by the operator as its DAG renders it, on the real broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.definition.pipeline import Pipeline
from include.errors import Stopped
from include.kafka.connection import KafkaConnection
from millrace.assets import requests_asset
from millrace.operators import EnsureTopicsOperator, ReplayDeadLettersOperator
from tests.support.consumers import committed_records
from tests.support.dags import load_dags
from tests.support.operators import DagRun, context_of
from tests.support.producers import NOW_MS, Record, produce

FORM: dict[str, Any] = {"reasons": [], "since": None, "until": None, "number": 1000}


@pytest.fixture
def pipeline(kafka: KafkaConnection, new_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A pipeline with three dead letters."""
    pipeline = new_pipeline(partitions="1")
    EnsureTopicsOperator(task_id="t", pipeline=pipeline.name).execute(context_of(DagRun("d", "r")))
    letters = [
        Record(b"value", f"id-{number}".encode(), [("dead-letter-reason", reason)], timestamp_ms=NOW_MS + number)
        for number, reason in enumerate([b"empty", b"wrong-size", b"empty"])
    ]
    produce(kafka, pipeline.dead_letters_topic, letters)
    return pipeline


def replay(pipeline: Pipeline, run: str = "r", **form: Any) -> tuple[dict[str, Any], Any]:
    """What the DAG's own task returns when its form is filled in so, and the extra of its event."""
    dag = load_dags().dags[f"{pipeline.name}.replay"]
    operator = dag.get_task("replay_dead_letters")
    context = context_of(DagRun(dag.dag_id, run))
    operator.render_template_fields({**context, "params": {**FORM, **form}})
    result: dict[str, Any] = operator.execute(context)  # type: ignore[attr-defined]
    return result, context["outlet_events"][requests_asset(pipeline)].extra


def ids(kafka: KafkaConnection, pipeline: Pipeline) -> list[bytes | None]:
    return [record.key() for record in committed_records(kafka, pipeline.requests_topic)]


def test_an_empty_form_replays_everything_once(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    result, event = replay(pipeline, "first")

    assert result == event
    assert result == {"selected": 3, "replayed": 3, "replayed_now": 3, "already_replayed": 0, "stay_dead": {}}
    assert replay(pipeline, "first")[0] == {**result, "replayed_now": 0}
    with pytest.raises(AirflowSkipException, match=r"was replayed: 3 were replayed by earlier runs and 0 stay dead\.$"):
        replay(pipeline, "second")
    assert ids(kafka, pipeline) == [b"id-0", b"id-1", b"id-2"]


@pytest.mark.parametrize(
    ("form", "replayed"),
    [
        ({"reasons": ["empty"]}, [b"id-0", b"id-2"]),
        ({"number": 1}, [b"id-0"]),
        ({"since": "2026-01-31T12:00:00Z", "until": "9999-01-31T12:00:00+00:00"}, [b"id-0", b"id-1", b"id-2"]),
    ],
)
def test_the_form_chooses(kafka: KafkaConnection, pipeline: Pipeline, form: Any, replayed: list[bytes]) -> None:
    replay(pipeline, **form)

    assert ids(kafka, pipeline) == replayed


@pytest.mark.parametrize(
    "form", [{"reasons": ["oversize"]}, {"until": "2026-01-31T12:00:00Z"}, {"since": "9999-01-31T12:00:00Z"}]
)
def test_nothing_chosen_is_a_skip(pipeline: Pipeline, form: Any) -> None:
    with pytest.raises(AirflowSkipException, match="has no dead letter of these reasons and times"):
        replay(pipeline, **form)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"number": 0}, "number = 0: Input should be greater than or equal to 1"),
        ({"since": "2026-01-31"}, "since = '2026-01-31'"),
        ({"since": "2026-01-31T12:00:00Z", "until": "2026-01-30T12:00:00Z"}, "the time must be after since"),
    ],
)
def test_what_can_not_be_replayed_as_asked_is_refused_without_a_retry(
    pipeline: Pipeline, form: Any, expected: str
) -> None:
    with pytest.raises(AirflowFailException, match=rf"{pipeline.name} can't be replayed as asked: .*{expected}.*\.$"):
        replay(pipeline, **form)


def test_a_stop_replays_nothing_more(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    operator = ReplayDeadLettersOperator(task_id="t", pipeline=pipeline.name)
    operator.on_kill()

    with pytest.raises(Stopped, match="Stopped after 0 dead letters"):
        operator.execute(context_of(DagRun("d", "r")))
    assert ids(kafka, pipeline) == []


def test_the_event_is_that_of_the_requests(pipeline: Pipeline) -> None:
    """So that predict begins by itself."""
    (operator,) = load_dags().dags[f"{pipeline.name}.replay"].tasks

    assert operator.outlets == [requests_asset(pipeline)]
