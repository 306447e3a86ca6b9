"""Looking at records: pictures, filters, and hostile content in every field."""

from __future__ import annotations

import io
import json
import time

import numpy as np
import pytest
from PIL import Image

from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.sources.digits import DigitsSource
from tests.support.page import ATTACKS, Seen, Visit
from tests.support.producers import Record, produce


def request_record(pipeline: Pipeline, number: int) -> Record:
    sample = DigitsSource().read(number, 1)[0]
    schema = pipeline.format.schema_name.encode()
    return Record(pipeline.format.encode(sample.content), sample.id.encode(), [("schema", schema)])


def prediction(pipeline: Pipeline, offset: int, **changed: object) -> Record:
    fields = {
        "id": f"digit-{offset:04d}",
        "label": "3",
        "score": 0.75,
        "model": pipeline.name,
        "version": 4,
        "digest": "d" * 64,
        "manifest": "0" * 16,
        "topic": pipeline.requests_topic,
        "partition": 0,
        "offset": offset,
        "timestamp": None,
        **changed,
    }
    return Record(json.dumps(fields).encode(), f"digit-{offset:04d}".encode(), [("model", b"digits/4")])


def test_a_prediction_is_shown_beside_the_picture_of_its_request(
    kafka: KafkaConnection, pipeline: Pipeline, visit: Visit
) -> None:
    produce(kafka, pipeline.requests_topic, [request_record(pipeline, number) for number in range(3)])
    produce(kafka, pipeline.predictions_topic, [prediction(pipeline, number) for number in range(3)])
    person = visit("VIEWER")

    seen = person.see(f"/{pipeline.name}/look")
    pictures = [attributes["src"] for tag, attributes in seen.elements if tag == "img"]

    assert len(pictures) == 3
    answer = person.client.get(str(pictures[0]))
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    with Image.open(io.BytesIO(answer.content)) as image:
        assert np.array_equal(np.asarray(image), DigitsSource().read(2, 1)[0].content[0])
    record = person.see(f"/{pipeline.name}/predictions/0/1")
    assert f"millrace trace {pipeline.predictions_topic}/0/1" in record.text
    assert f"/millrace/{pipeline.name}/requests/0/1" in record.links()


def test_the_heading_says_what_is_shown_and_how_many_wait(
    kafka: KafkaConnection, pipeline: Pipeline, visit: Visit
) -> None:
    produce(kafka, pipeline.requests_topic, [request_record(pipeline, number) for number in range(3)])
    person = visit("VIEWER")
    person.see()  # the flow is known

    seen = person.see(f"/{pipeline.name}/look?topic=requests&label=3")

    assert "The newest 3 requests 3 wait for a prediction" in seen.text
    assert "form" not in [tag for tag, _ in seen.elements]


def test_wrong_predictions_without_a_true_label_are_said_to_be_unknown(
    kafka: KafkaConnection, pipeline: Pipeline, visit: Visit
) -> None:
    person = visit("VIEWER")
    produce(kafka, pipeline.predictions_topic, [Record(b"{}")])
    assert "No record was found." in person.see(f"/{pipeline.name}/look?wrong=1&label=1").text

    produce(kafka, pipeline.requests_topic, [request_record(pipeline, 0)])
    produce(kafka, pipeline.predictions_topic, [prediction(pipeline, 0)])

    assert "None can be called wrong" in person.see(f"/{pipeline.name}/look?wrong=1").text
    found = person.see(f"/{pipeline.name}/look?label=3").text
    assert "The newest prediction that matches" in found


def test_records_that_are_no_predictions_are_counted_and_one_click_away(
    kafka: KafkaConnection, pipeline: Pipeline, visit: Visit
) -> None:
    produce(kafka, pipeline.predictions_topic, [prediction(pipeline, 0), Record(b"{}"), Record(b"[")])
    person = visit("VIEWER")

    seen = person.see(f"/{pipeline.name}/look")

    assert "2 of the records that were searched are no predictions" in seen.text
    assert f"/millrace/{pipeline.name}/predictions/0/1" in seen.links()


def test_the_best_labels_of_a_prediction_are_shown_with_their_scores(
    kafka: KafkaConnection, pipeline: Pipeline, visit: Visit
) -> None:
    top = [{"label": "3", "score": 0.75}, {"label": "8", "score": 0.2}]
    produce(kafka, pipeline.predictions_topic, [prediction(pipeline, 0, top=top)])

    seen = visit("VIEWER").see(f"/{pipeline.name}/predictions/0/0")

    assert "Scores 3 0.7500 0.7500 8 0.2000 0.2000" in seen.text


def test_hostile_content_in_every_field_is_shown_as_text(
    kafka: KafkaConnection, pipeline: Pipeline, visit: Visit
) -> None:
    schema = ("schema", pipeline.format.schema_name.encode())
    for attack in ATTACKS:
        raw = attack.encode()
        hostile = Record(raw, raw, [schema, (attack.replace("\x00", "0"), raw), ("label", raw)])
        for topic in (pipeline.samples_topic, pipeline.requests_topic):
            produce(kafka, topic, [hostile])
        fields = dict.fromkeys(("id", "label", "model", "digest", "manifest", "topic"), attack)
        wrong = [hostile, prediction(pipeline, 0, **fields), prediction(pipeline, 0, label=attack)]
        produce(kafka, pipeline.predictions_topic, wrong)
    person = visit("VIEWER")

    places = [f"{topic}/0/{offset}" for topic in ("samples", "requests") for offset in range(len(ATTACKS))]
    places += [f"predictions/0/{offset}" for offset in range(3 * len(ATTACKS))]
    for path in ("look?topic=samples", "look?topic=requests", "look?topic=predictions", *places):
        seen = person.see(f"/{pipeline.name}/{path}")
        assert seen.active() == [], path
        assert "49" not in seen.text.split()
    for attack in ATTACKS:
        asked = person.client.get(f"/millrace/{pipeline.name}/look", params={"label": attack})
        assert Seen(asked.text).active() == []
    assert person.get(f"/{pipeline.name}/requests/0/0/media").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "look?topic=secrets",
        "look?version=0",
        "look?version=99999999999999999999",
        "look?least=2",
        "look?most=nan",
        "look?wrong=yes",
        "secrets/0/0",
        "samples/-1/0",
        "samples/0/99999999999999999999",
        "samples/0/0x1/media",
    ],
)
def test_what_no_form_sends_is_refused(pipeline: Pipeline, visit: Visit, path: str) -> None:
    answer = visit("VIEWER").get(f"/{pipeline.name}/{path}")

    assert answer.status_code in (404, 422)
    assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize("path", ["look", "samples/0/0", "samples/0/0/media"])
def test_nobody_sees_a_record_without_a_login_or_of_a_pipeline_that_they_may_not_read(
    pipeline: Pipeline, visit: Visit, path: str
) -> None:
    assert visit(None).get(f"/{pipeline.name}/{path}").status_code == 401
    assert visit("ADMIN").get(f"/no_such_pipeline/{path}").status_code == 404


def test_a_broker_that_is_down_is_said_in_two_seconds(
    no_broker: KafkaConnection, pipeline: Pipeline, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "kafka", "extra": dict(no_broker.settings)}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps(connection))
    person = visit("VIEWER")
    person.get()  # imports

    def seconds() -> float:
        began = time.monotonic()
        answer = person.get(f"/{pipeline.name}/look")
        assert answer.status_code == 503
        assert "No Kafka broker" in answer.text
        return time.monotonic() - began

    # The best of a few: other tests take the processor meanwhile.
    assert min(seconds() for _ in range(3)) < 2
    for path in ("look", "overview"):
        answer = person.get(f"/{pipeline.name}/{path}")
        live = [attributes["data-live"] for _, attributes in Seen(answer.text).elements if "data-live" in attributes]
        assert answer.status_code == 503
        assert {"error", "day"} & set(live)  # the page looks again by itself
