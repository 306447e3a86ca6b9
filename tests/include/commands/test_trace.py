"""`trace` leads from a prediction to its request and model, predicts it again, and says what is not there any more."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from include.__main__ import app
from include.definition.files import load_pipeline
from include.exactly_once.ledger import ledger_topic
from include.kafka.topics import ensure_topics
from include.prediction.predictor import load_predictor
from include.registry.record import record_version
from include.registry.runs import open_run
from include.registry.tracking import open_registry
from include.registry.versions import register_version
from include.training.job import TrainingJob
from include.training.loop import train
from include.training.result import store_result
from tests.support.administrator import delete_records
from tests.support.assertions import assert_readable
from tests.support.consumers import committed_records
from tests.support.digit_trainings import digits_pipeline, job_over
from tests.support.mlflow_database import put_database
from tests.support.producers import Record, produce
from tests.support.publishing import ask, publish

REQUESTS = 20


@pytest.fixture(scope="module")
def pipeline(kafka, new_name, tmp_path_factory):
    """A pipeline whose version 1 has answered some requests."""
    folder, name = tmp_path_factory.mktemp("trace"), new_name()
    (folder / f"{name}.toml").write_text(
        'description = "test"\n[topics]\npartitions = 1\n[format]\nkind = "image.png"\nheight = 8\nwidth = 8\n'
        'channels = 1\n[source]\nkind = "digits"\n[model]\nkind = "convnet"\nchannels = [8]\nhidden = 32\n'
        '[training]\nlabels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]\n'
    )
    digits = digits_pipeline()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILLRACE_PIPELINES", str(folder))
        patch.setenv("MILLRACE_STATE", str(folder / "state"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        put_database(folder / "state")
        pipeline = load_pipeline(name)
        ensure_topics(kafka, [*pipeline.topic_specs(), ledger_topic()])
        images = [
            Record(
                key=sample.id.encode(),
                value=pipeline.format.encode(sample.content),
                headers=[("schema", pipeline.format.schema_name.encode()), ("label", sample.label.encode())],
            )
            for sample in digits.source.read(0, 100)
        ]
        produce(kafka, pipeline.samples_topic, images)
        job = job_over(kafka, pipeline.samples_topic, pipeline, epochs=1)
        assert isinstance(job, TrainingJob)
        result = store_result(folder / "run", job, "run", train(job, kafka, folder / "run"))
        registry = open_registry()
        made = register_version(open_run(registry, job.run_identity("run")), result)
        record_version(kafka, registry, made)
        ranges = ask(kafka, pipeline, *images[:REQUESTS])
        # What is traced was answered with a setting that the file does not have any more.
        before = pipeline.model_copy(update={"prediction": pipeline.prediction.model_copy(update={"top_k": 3})})
        publish(kafka, before, ranges, load_predictor(kafka, pipeline, str(made.number)))
        yield pipeline


@pytest.fixture
def trace(kafka):
    def run(place):
        ran = CliRunner().invoke(app, ["trace", place, "--bootstrap-servers", kafka.bootstrap_servers])
        return ran.exit_code, " ".join(ran.stdout.split()), " ".join(ran.stderr.split())

    return run


def answers(kafka, pipeline):
    """The predictions of the publication, as (offset, fields)."""
    return [
        (record.offset(), json.loads(record.value())) for record in committed_records(kafka, pipeline.predictions_topic)
    ]


def forged(kafka, pipeline, **changed):
    """The offset of a record like the last prediction, with other fields."""
    last = committed_records(kafka, pipeline.predictions_topic)[REQUESTS - 1]
    value = json.dumps({**json.loads(last.value()), **changed}).encode()
    produce(kafka, pipeline.predictions_topic, [Record(key=last.key(), value=value)])
    return committed_records(kafka, pipeline.predictions_topic)[-1].offset()


def test_a_prediction_leads_to_its_request_and_model_and_comes_out_the_same(kafka, pipeline, trace):
    offset, answer = answers(kafka, pipeline)[REQUESTS - 1]

    code, shown, said = trace(f"{pipeline.predictions_topic}/0/{offset}")

    assert code == 0
    assert said == "Version 1 predicts the same bits again."
    assert len(answer["top"]) == 3
    for expected in (
        f"{pipeline.requests_topic}/0/{REQUESTS - 1}",
        "image of 8x8 pixels",
        f"version {pipeline.name}/1",
        answer["digest"],
        answer["manifest"],
        f"samples {pipeline.samples_topic}/0: 0 to 100",
    ):
        assert expected in shown


def test_other_bits_are_shown_with_both_values(kafka, pipeline, trace):
    _, answer = answers(kafka, pipeline)[REQUESTS - 1]

    code, _, said = trace(f"{pipeline.predictions_topic}/0/{forged(kafka, pipeline, score=2.5)}")

    assert code == 1
    assert f"Version 1 predicts other bits now: score 2.5, now {answer['score']}." in said


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"version": 99}, "has no version 99"),
        ({"digest": "0" * 64}, "another one than at that time"),
        ({"offset": 9000}, "nothing was written there yet"),
        ({"offset": 3}, "was deleted and created again"),
    ],
)
def test_what_is_not_there_any_more_is_a_sentence(kafka, pipeline, trace, changed, expected):
    code, shown, said = trace(f"{pipeline.predictions_topic}/0/{forged(kafka, pipeline, **changed)}")

    assert code == 0
    assert expected in said
    assert said.endswith("So the request was not predicted again.")
    assert "Prediction" in shown


def test_a_request_that_retention_has_removed_is_a_sentence_and_its_model_is_shown(kafka, pipeline, trace):
    delete_records(kafka, pipeline.requests_topic, 2)
    offset, answer = answers(kafka, pipeline)[0]

    code, shown, said = trace(f"{pipeline.predictions_topic}/0/{offset}")

    assert code == 0
    assert f"There is no committed record {pipeline.requests_topic}/0/0" in said
    assert "retention has removed" in said
    assert answer["manifest"] in shown
    assert f"samples {pipeline.samples_topic}/0: 0 to 100" in shown


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("{topic}/0", "write TOPIC/PARTITION/OFFSET"),
        ("other.predictions/0/1", "No valid pipeline publishes predictions to topic 'other.predictions'"),
        ("{topic}/0/9999", "nothing was written there yet"),
        ("{topic}/7/0", "none of number 7"),
        # The marker of the publication's transaction.
        (f"{{topic}}/0/{REQUESTS}", "a transaction's marker"),
    ],
)
def test_an_address_without_a_prediction_is_refused(pipeline, trace, place, expected):
    code, _, said = trace(place.format(topic=pipeline.predictions_topic))

    assert code == 1
    assert_readable(ValueError(said), expected)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({"score": "high"}, "is no prediction (score"), ({"topic": "others"}, "is a prediction of model")],
)
def test_a_record_of_another_program_is_refused(kafka, pipeline, trace, changed, expected):
    code, _, said = trace(f"{pipeline.predictions_topic}/0/{forged(kafka, pipeline, **changed)}")

    assert code == 1
    assert_readable(ValueError(said), expected)
