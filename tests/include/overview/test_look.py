"""The newest records, decoded for a person, from a real broker."""

from __future__ import annotations

import io
import json
import time
import wave

import numpy as np
import pytest
from PIL import Image

from include.kafka.topics import TopicSpec, ensure_topics
from include.overview import look as module
from include.overview.look import Filters, Looker
from include.overview.media import SHOWN_PEAKS, as_found, peaks, png, wav
from tests.support.consumers import committed_records
from tests.support.producers import Record, produce
from tests.support.publishing import ask, publish, request
from tests.support.tiny_pipelines import LETTERS, SCHEMA, letter, numbers, sample_id, tiny_pipeline, tiny_predictor


def answered(kafka, pipeline, count):
    """Requests 0 to `count` with their predictions, in order."""
    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(count))), tiny_predictor(pipeline.name))
    # A broker that has just started may confirm a transaction a moment before its records can be read.
    assert len(committed_records(kafka, pipeline.predictions_topic)) == count


def test_predictions_come_newest_first_with_the_samples_of_their_requests(kafka, new_pipeline):
    pipeline = new_pipeline()
    answered(kafka, pipeline, 5)

    found = Looker(kafka, pipeline).newest("predictions", 3)

    assert [item.id for item in found.items] == [sample_id(number) for number in (4, 3, 2)]
    for number, item in zip((4, 3, 2), found.items, strict=True):
        assert item.answer is not None
        assert (item.answer.text, item.answer.version) == (letter(numbers(number)), 7)
        assert item.answer.request.topic == pipeline.requests_topic
        assert item.shown is not None
        assert item.shown.text is not None
        assert f"{numbers(number)[0]:g}" in item.shown.text
        assert (item.label, item.right) == (None, None)


def test_filters_select_by_label_version_and_score(kafka, new_pipeline):
    pipeline = new_pipeline()
    answered(kafka, pipeline, 20)
    looker = Looker(kafka, pipeline)
    labels = [letter(numbers(number)) for number in range(20)]

    found = looker.newest("predictions", 50, Filters(label="b"))
    assert len(found.items) == labels.count("b") > 0
    assert looker.newest("predictions", 50, Filters(version=6)).items == ()
    scores = [item.answer.score for item in looker.newest("predictions", 50, Filters(least=0.5, most=0.7)).items]
    assert scores
    assert all(0.5 <= score <= 0.7 for score in scores)


def test_late_labels_are_the_truth_and_show_what_is_wrong(kafka, new_name):
    name = new_name()
    topics = {"partitions": 1, "samples": f"{name}.all", "requests": f"{name}.all"}
    labels = {"kind": "topic", "topic": f"{name}.truth"}
    pipeline = tiny_pipeline(name, source=None, topics=topics, labels=labels, envelope={"kind": "bare"})
    ensure_topics(kafka, [*pipeline.topic_specs(), *map(TopicSpec, (f"{name}.all", f"{name}.truth"))])
    answered(kafka, pipeline, 4)
    right = letter(numbers(0))
    truth = {0: right, 1: next(label for label in LETTERS if label not in (right, letter(numbers(1))))}
    produce(
        kafka,
        f"{name}.truth",
        [Record(key=sample_id(number).encode(), value=label.encode()) for number, label in truth.items()],
    )
    looker = Looker(kafka, pipeline)

    by_id = {item.id: item for item in looker.newest("predictions", 10).items}
    assert [by_id[sample_id(number)].right for number in range(4)] == [True, False, None, None]
    wrong = looker.newest("predictions", 10, Filters(wrong=True))
    assert [(item.id, item.label) for item in wrong.items] == [(sample_id(1), truth[1])]
    assert not wrong.unlabelled
    assert [item.id for item in looker.newest("samples", 10, Filters(label=truth[0])).items] == [sample_id(0)]


SCORES = {"a": 0.9, "b": 0.1, "c": 0.1}


def answer(kafka, pipeline, answers):
    """Predictions with these answers by id, to requests that the topic has no longer."""
    place = {"topic": pipeline.requests_topic, "partition": 0, "offset": 2**62, "timestamp": None}
    made = {"model": "m", "version": 1, "digest": "d", "manifest": "m"}
    produce(
        kafka,
        pipeline.predictions_topic,
        [
            Record(key=name.encode(), value=json.dumps({"id": name, **said, **made, **place}).encode())
            for name, said in answers.items()
        ],
    )


def rightly(looker):
    return {item.id: item.right for item in looker.newest("predictions", 20).items}


@pytest.mark.parametrize(
    ("predicted", "truth", "right"),
    [
        (["a", "b"], "a|b", True),
        (["a", "b"], " b | a", True),
        (["a", "b"], '["b", "a"]', True),
        (["a", "b"], "a", False),
        (["a"], "a|b", False),
        ([], "a", False),  # a label that was missed
        ([], "[]", True),
        (["a"], "[]", False),
        (["a"], "a|z", None),  # no label of the pipeline, which the live score leaves out, too
    ],
)
def test_several_labels_are_right_as_the_live_score_counts_them(
    kafka, new_pipeline, new_topic, predicted, truth, right
):
    topic = new_topic()
    training = {"task": "multi-label", "labels": list(LETTERS), "separator": "|"}
    pipeline = new_pipeline(training=training, watch={"labels": {"topic": topic}})
    answer(kafka, pipeline, {"x": {"labels": predicted, "scores": SCORES}})
    produce(kafka, topic, [Record(key=b"x", value=truth.encode())])
    looker = Looker(kafka, pipeline)

    (item,) = looker.newest("predictions", 5).items
    assert (item.label, item.right) == (truth, right)
    wrong = looker.newest("predictions", 5, Filters(wrong=True))
    assert [item.id for item in wrong.items] == (["x"] if right is False else [])
    assert wrong.unlabelled is (right is None)


NFC, NFD = "caf\u00e9", "cafe\u0301"


def test_labels_are_told_apart_as_in_a_training(kafka, new_pipeline, new_topic):
    topic = new_topic()
    pipeline = new_pipeline(training={"labels": ["3", "true", NFC]}, watch={"labels": {"topic": topic}})
    written = {"3": "3.0", "true": "True", NFC: NFD}
    answer(kafka, pipeline, {f"right {label}": {"label": label, "score": 0.9} for label in written})
    answer(kafka, pipeline, {f"wrong {label}": {"label": "3", "score": 0.9} for label in ("true", NFC)})
    produce(
        kafka,
        topic,
        [
            Record(key=f"{way} {label}".encode(), value=text.encode())
            for label, text in written.items()
            for way in ("right", "wrong")
        ],
    )
    produce(
        kafka,
        pipeline.samples_topic,
        [
            Record(numbers(0).tobytes(), label.encode(), [("schema", SCHEMA), ("label", text.encode())])
            for label, text in written.items()
        ],
    )
    looker = Looker(kafka, pipeline)

    assert rightly(looker) == {
        **{as_found(f"right {label}".encode()): True for label in written},
        **{as_found(f"wrong {label}".encode()): False for label in ("true", NFC)},
    }
    for label, text in written.items():
        for typed in (label, text):
            found = looker.newest("samples", 5, Filters(label=typed)).items
            assert [item.label for item in found] == [text]
            ids = {item.id for item in looker.newest("predictions", 5, Filters(label=typed)).items}
            assert as_found(f"right {label}".encode()) in ids
    for content in ("samples", "predictions"):
        assert looker.newest(content, 5, Filters(label="4")).items == ()


def test_labels_of_a_watch_are_of_answers_and_not_of_samples(kafka, new_pipeline, new_topic):
    topic = new_topic()
    pipeline = new_pipeline(watch={"labels": {"topic": topic, "field": "truth"}})
    answered(kafka, pipeline, 2)
    own = [("schema", SCHEMA), ("label", b"a")]
    ids = [sample_id(number).encode() for number in range(2)]
    produce(kafka, pipeline.samples_topic, [Record(numbers(number).tobytes(), ids[number], own) for number in range(2)])
    looker = Looker(kafka, pipeline)
    assert looker.newest("predictions", 5, Filters(wrong=True)).unlabelled

    produce(kafka, topic, [Record(key=ids[0], value=json.dumps({"truth": letter(numbers(0))}).encode())])

    assert rightly(looker) == {sample_id(0): True, sample_id(1): None}
    labels = {item.id: item.label for item in looker.newest("requests", 5).items}
    assert labels == {sample_id(0): letter(numbers(0)), sample_id(1): None}
    assert [item.label for item in looker.newest("samples", 5).items] == ["a", "a"]


def test_numbers_are_neither_right_nor_wrong(kafka, new_pipeline, new_topic):
    topic = new_topic()
    pipeline = new_pipeline(training={"task": "regression", "labels": ["x"]}, watch={"labels": {"topic": topic}})
    answer(kafka, pipeline, {"x": {"values": {"x": 2.0}}})
    produce(kafka, topic, [Record(key=b"x", value=b"3")])

    (item,) = Looker(kafka, pipeline).newest("predictions", 5).items
    assert (item.label, item.right) == ("3", None)


def test_a_record_that_is_no_sample_is_shown_as_found_with_its_faults(kafka, new_pipeline):
    pipeline = new_pipeline()
    ask(kafka, pipeline, request(0, value=b"\x1b[31m<script>\x00", key=b"<b>"))

    (item,) = Looker(kafka, pipeline).newest("requests", 5).items

    assert item.id == "<b>"
    assert item.shown is not None
    assert item.shown.raw == "\\x1b[31m<script>\\x00"
    assert item.faults[0].startswith("wrong-size")


def test_a_record_that_is_no_prediction_is_found_by_its_place_alone(kafka, new_pipeline):
    pipeline = new_pipeline()
    produce(kafka, pipeline.predictions_topic, [Record(value=b'{"label": 3}'), Record(value=b"[" * 100_000)])
    looker = Looker(kafka, pipeline)

    found = looker.newest("predictions", 5)
    assert (found.items, len(found.invalid)) == ((), 2)
    item = looker.one("predictions", 0, 0)
    assert item is not None
    assert (item.answer, item.faults) == (None, ("The record is no prediction of this pipeline.",))
    assert looker.one("predictions", 0, 2) is None
    assert looker.one("predictions", 9, 0) is None


def test_a_prediction_of_another_topic_or_of_a_lost_request_has_no_sample(kafka, new_pipeline):
    pipeline = new_pipeline()
    plain = {"id": "x", "label": "a", "score": 0.5, "model": "m", "version": 1, "digest": "d", "manifest": "m"}
    place = {"partition": 0, "offset": 2**62, "timestamp": None}
    values = [{**plain, **place, "topic": topic} for topic in ("other", pipeline.requests_topic)]
    produce(kafka, pipeline.predictions_topic, [Record(value=json.dumps(value).encode()) for value in values])

    assert [item.shown for item in Looker(kafka, pipeline).newest("predictions", 5).items] == [None, None]


def test_a_long_topic_is_read_from_its_end_and_no_further_than_the_limit(kafka, new_pipeline, monkeypatch):
    monkeypatch.setattr(module, "LIMITS", module.Limits(offsets=200, size=2**20))
    pipeline = new_pipeline()
    produce(
        kafka,
        pipeline.samples_topic,
        (
            Record(
                numbers(0).tobytes(), f"{number}".encode(), [("schema", SCHEMA), ("label", b"a" if number else b"b")]
            )
            for number in range(2000)
        ),
    )
    looker = Looker(kafka, pipeline)

    assert [item.id for item in looker.newest("samples", 2).items] == ["1999", "1998"]
    found = looker.newest("samples", 2, Filters(label="b"))
    assert (found.items, found.complete) == ((), False)


def test_a_pipeline_without_topics_has_nothing_to_look_at(kafka, new_name):
    assert not Looker(kafka, tiny_pipeline(new_name())).newest("samples", 5).exists


def test_a_broker_that_is_down_is_an_error_soon(no_broker):
    began = time.monotonic()
    with pytest.raises(Exception, match="No Kafka broker"):
        Looker(no_broker, tiny_pipeline("tiny")).newest("samples", 5)
    assert time.monotonic() - began < 10


def test_pictures_and_sounds_are_encoded_anew():
    picture = np.arange(3 * 4 * 6, dtype=np.uint8).reshape(3, 4, 6)
    with Image.open(io.BytesIO(png(picture))) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (6, 4), "RGB")
        assert np.array_equal(np.asarray(image).transpose(2, 0, 1), picture)
    with Image.open(io.BytesIO(png(np.zeros((1, 40, 4000), np.uint8)))) as image:
        assert image.size == (768, 8)
    sound = np.array([[0, 1000, -32768, 32767]], np.int16)
    with wave.open(io.BytesIO(wav(sound, 8000))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert file.readframes(4) == sound.astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (b"", ""), (b"\xff\n\x07", "\\xff\\n\\x07"), ("\u202eé".encode(), "\\u202eé")],
)
def test_bytes_are_shown_with_escapes(value, text):
    assert as_found(value) == text


def test_long_bytes_are_cut():
    assert as_found(b"x" * 10_000) == "x" * 512 + " … (10,000 bytes)"


@pytest.mark.parametrize("samples", [0, 1, 50, 8000])
def test_a_waveform_has_as_many_bars_for_any_sound_and_the_loudest_is_one(samples: int) -> None:
    sound = np.zeros((1, samples), np.int16)
    sound[0, -1:] = -32768

    found = peaks(sound)

    assert len(found) == SHOWN_PEAKS
    assert max(found) == (1.0 if samples else 0.0)
    assert sum(found) == max(found)
