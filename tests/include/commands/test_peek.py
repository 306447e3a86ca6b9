"""`peek` shows a topic's newest records of a real broker to a person, faults and hostile bytes among them."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from include.__main__ import app
from include.commands import kafka_access, record_view
from include.commands.kafka_access import NoKafka, find_kafka, find_registry
from include.commands.record_view import escaped, half_blocks, readable
from include.definition.files import load_pipeline
from include.kafka.topics import ensure_topics
from include.local.environment import CONNECTION
from tests.support.assertions import assert_readable
from tests.support.corpus import saved, slope
from tests.support.producers import Record, abort, commit, produce
from tests.support.publishing import ask, bad_request, publish, request
from tests.support.registry_server import USER, running_registry
from tests.support.sounds import sound_file, tone
from tests.support.tiny_pipelines import tiny_predictor
from tests.support.unreadable_headers import produce_unreadable_header

FORMATS = {
    "image": 'kind = "image.png"\nheight = 12\nwidth = 16\nchannels = 3',
    "array": 'kind = "tensor.raw"\nshape = [4]\ndtype = "float32"',
    "text": 'kind = "text.utf8"\nlength = 100',
    "sound": 'kind = "audio.wav"\nsample_rate = 8000\nseconds = 1',
    "row": 'kind = "row"\nnumbers = ["age"]\ncategories = ["port"]',
    "numbers": 'kind = "audio.pcm"\nsample_rate = 8000\nseconds = 1\nrate = 16000\nchannels = 2',
}
LONG, SHORT = (sound_file(tone(440, seconds=length, level=level), "WAV") for length, level in ((2.5, 0.5), (0.25, 0.1)))
PNG = saved(slope("RGB", 16, 12), "PNG")


@pytest.fixture
def new_file(kafka, new_name, tmp_path, monkeypatch):
    """Writes a pipeline's file and makes its topics."""
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))

    def make(format_name, more=""):
        name = new_name()
        model = "rows" if format_name == "row" else "convnet"
        (tmp_path / f"{name}.toml").write_text(
            f'description = "test"\n{more}\n[topics]\npartitions = 1\n[format]\n{FORMATS[format_name]}\n'
            f'[source]\nkind = "digits"\n[model]\nkind = "{model}"\n[training]\nlabels = ["a", "b", "c"]\n'
        )
        pipeline = load_pipeline(name)
        ensure_topics(kafka, pipeline.topic_specs())
        return pipeline

    return make


@pytest.fixture
def peek(kafka):
    def run(pipeline, *arguments):
        return CliRunner().invoke(
            app, ["peek", pipeline.name, *arguments, "--bootstrap-servers", kafka.bootstrap_servers]
        )

    return run


def shown(ran):
    """What was printed, with the lines put together that the terminal's width has broken."""
    assert ran.exit_code == 0, ran.output
    return " ".join(ran.output.split())


def sample(value, label=b"a", schema=b"image.png/1", **more):
    return Record(value=value, headers=[("schema", schema), ("label", label)], **more)


def test_the_newest_records_are_shown_with_all_that_they_have(kafka, new_file, peek):
    pipeline = new_file("image")
    samples = [sample(PNG, key=f"rose/{number}.png".encode()) for number in range(7)]
    commit(kafka, pipeline.samples_topic, samples)
    abort(kafka, pipeline.samples_topic, [sample(PNG, key=b"never")] * 10)
    said = shown(peek(pipeline, "--number", "2"))
    for expected in (f"{pipeline.samples_topic}/0/6", "rose/6.png", "rose/5.png", "schema = image.png/1", "label = a"):
        assert expected in said
    assert "image of 16x12 pixels, RGB" in said
    assert "wrong" not in said
    assert "rose/4.png" not in said
    assert "never" not in said


def test_nothing_is_committed(kafka, new_file, peek):
    from confluent_kafka import Consumer, TopicPartition

    pipeline = new_file("image")
    produce(kafka, pipeline.samples_topic, [sample(PNG)])
    shown(peek(pipeline))
    consumer = Consumer({**kafka.settings, "group.id": "millrace.peek"})
    assert consumer.committed([TopicPartition(pipeline.samples_topic, 0)], timeout=10)[0].offset < 0
    consumer.close()


def test_an_image_is_saved_as_it_was(kafka, new_file, peek, tmp_path):
    pipeline = new_file("image")
    produce(kafka, pipeline.requests_topic, [Record(value=PNG), Record(value=b"no image")])
    shown(peek(pipeline, "--topic", "requests", "--save", str(tmp_path / "new" / "folder")))
    saved_files = list((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in saved_files] == [f"{pipeline.requests_topic}-0-0.png"]
    assert np.array_equal(np.asarray(Image.open(saved_files[0])), np.asarray(slope("RGB", 16, 12)))


@pytest.mark.parametrize(
    ("format_name", "value", "expected"),
    [
        ("array", np.array([1, -2, 0.5, 8], "<f4").tobytes(), "array of shape (4,), float32, -2 to 8"),
        ("sound", LONG, "sound of 2.50 s, of which 1.00 s are taken: peak -6.0 dBFS, RMS -9.0 dBFS"),
        ("sound", SHORT, "sound of 0.25 s, of which 0.25 s are taken: peak -20.0 dBFS, RMS -23.0 dBFS"),
        ("numbers", bytes(16_000), "sound of 0.25 s, of which 0.25 s are taken: silence"),
        ("text", "Where is the naïve 花?".encode(), "Where is the naïve 花?"),
        ("row", b'{"age": 3, "port": "Q\\u001b"}', '{"age": 3, "port": "Q\\u001b"}'),
    ],
)
def test_arrays_are_summarised_and_text_is_shown(kafka, new_file, peek, format_name, value, expected):
    pipeline = new_file(format_name)
    produce(kafka, pipeline.samples_topic, [sample(value, schema=pipeline.format.schema_name.encode())])
    said = shown(peek(pipeline))
    assert expected in said
    assert "wrong" not in said


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (sample(PNG[:-20]), "undecodable: "),
        (sample(saved(slope("RGB", 8, 8), "PNG")), "wrong-size: The image has 8x8 pixels, the format 16x12."),
        (sample(None), "empty: "),
        (sample(PNG, schema=b"image.png/9"), "wrong-schema: "),
        (Record(value=PNG), "no-schema: "),
        (sample(PNG, label=b"z"), "unknown-label: The label 'z' is not in training.labels (a, b, c)."),
        (Record(value=PNG, headers=[("schema", b"image.png/1")]), "no-label: "),
        (sample(PNG, label=b"x" * 2000), "header-too-long: "),
    ],
)
def test_the_fault_of_a_sample_is_shown(kafka, new_file, peek, record, expected):
    pipeline = new_file("image")
    produce(kafka, pipeline.samples_topic, [record])
    assert expected in shown(peek(pipeline))


def test_headers_that_cannot_be_read_end_nothing(kafka, new_file, peek):
    pipeline = new_file("array")
    produce_unreadable_header(kafka, pipeline.requests_topic, b"1234")
    said = shown(peek(pipeline, "--topic", "requests"))
    assert "unreadable-headers: " in said
    assert "wrong-size: " in said


def test_hostile_bytes_reach_the_terminal_escaped(kafka, new_file, peek):
    pipeline = new_file("text")
    hostile = "\x1b]0;title\x07\x1b[2J\r\u202egnorw\x9b31m[bold]markup[/bold]\ud800".encode("utf-8", "surrogatepass")
    record = Record(value=hostile, key=hostile, headers=[(hostile.decode("utf-8", "ignore"), hostile)])
    produce(kafka, pipeline.requests_topic, [record])
    said = peek(pipeline, "--topic", "requests").output
    assert not {c for c in said if not c.isprintable()} - {"\n"}
    assert "\\x1b[2J" in said
    assert "[bold]markup[/bold]" in said


def test_predictions_and_dead_letters(kafka, new_file, peek):
    pipeline = new_file("array")
    publish(kafka, pipeline, ask(kafka, pipeline, request(1), bad_request(2)), tiny_predictor())
    said = shown(peek(pipeline, "--topic", "predictions"))
    assert '"id": "number-0001"' in said
    assert "model = tiny/7" in said
    said = shown(peek(pipeline, "--topic", "dead-letters"))
    for expected in ("reason wrong-size", f"came from {pipeline.requests_topic}/0/1", "run run-1", "number-0002"):
        assert expected in said
    assert "because The record has 3 bytes" in said


def test_a_prediction_that_is_no_json_is_shown_with_the_fault(kafka, new_file, peek):
    pipeline = new_file("array")
    produce(kafka, pipeline.predictions_topic, [Record(value=b"[" * 100_000), Record(value=b"[1]")])
    said = shown(peek(pipeline, "--topic", "predictions"))
    assert "wrong invalid-json: " in said
    assert "wrong wrong-type: " in said


def test_an_unsigned_record_of_a_signed_pipeline_is_shown_with_the_fault(kafka, new_file, peek):
    pipeline = new_file("array", "signing = { connection = 'keys' }")
    produce(kafka, pipeline.requests_topic, [request(1)])
    said = shown(peek(pipeline, "--topic", "requests"))
    assert "unsigned: " in said
    assert "no keys" in said


def test_an_empty_topic_is_said_to_be_empty(new_file, peek):
    pipeline = new_file("array")
    assert f"no committed record in {pipeline.samples_topic}" in shown(peek(pipeline))


def test_a_topic_that_is_missing_and_a_broker_that_is_away(new_file, peek, tmp_path, monkeypatch, no_broker):
    pipeline = new_file("array")
    other = tmp_path / "never_made.toml"
    other.write_text((tmp_path / f"{pipeline.name}.toml").read_text())
    ran = peek(load_pipeline("never_made"))
    assert ran.exit_code == 1
    assert_readable(ValueError(ran.stderr.strip()), "never_made.samples", "does not exist")
    monkeypatch.setattr(kafka_access, "TIMEOUT_S", 1.0)
    ran = CliRunner().invoke(app, ["peek", pipeline.name, "--bootstrap-servers", no_broker.bootstrap_servers])
    assert ran.exit_code == 1
    assert_readable(ValueError(ran.stderr.strip()), no_broker.bootstrap_servers)


@pytest.mark.parametrize("arguments", [("--topic", "predictions"), ()])
def test_what_is_no_image_is_not_saved(new_file, peek, tmp_path, arguments):
    ran = peek(new_file("text"), *arguments, "--save", str(tmp_path / "pictures"))
    assert ran.exit_code == 1
    assert_readable(ValueError(ran.stderr.strip()), "text.utf8", "--save")
    assert not (tmp_path / "pictures").exists()


def test_a_picture_is_two_pixels_a_character():
    red, blue = (255, 0, 0), (0, 0, 255)
    image = Image.new("RGB", (24, 24), red)
    image.paste(blue, (0, 1, 24, 24))
    output = io.StringIO()
    Console(file=output, force_terminal=True, color_system="truecolor").print(half_blocks(image))
    first, second, *_ = output.getvalue().splitlines()
    assert "38;2;255;0;0;48;2;0;0;255m▀" in first
    assert "38;2;0;0;255;48;2;0;0;255m▀" in second


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (5000, 1), (1, 5000), (640, 480)])
def test_a_picture_of_any_size_fits_the_terminal(width, height):
    lines = half_blocks(Image.new("L", (width, height))).plain.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 64


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\r\nand a third", "two\nlines\nand a third"),
        ("Que\u00a0veut\tdire\u3000\u0928\u094d\u200d ?", "Que\u00a0veut    dire\u3000\u0928\u094d\u200d ?"),
        ("\x1b[2J\r\u202eetihw\u2028", "\\x1b[2J\\r\\u202eetihw\\u2028"),
        ("a" * 3000, "a" * 2000 + " ..."),
        ("\n" * 100, "\n" * 39 + " ..."),
    ],
)
def test_text_is_shown_as_its_lines_and_nothing_acts_on_the_terminal(text, shown):
    assert readable(text) == shown


def test_long_text_is_cut_and_says_so():
    assert escaped("a" * 400, 300) == "a" * 300 + " ..."
    assert escaped(b"\xff\x00") == "\\xff\\x00"


URI = "kafka://?bootstrap.servers=b%3A9092&security.protocol=SSL"
JSON = json.dumps({"conn_type": "kafka", "extra": {"bootstrap.servers": "b:9092", "security.protocol": "SSL"}})
NESTED = json.dumps({"conn_type": "kafka", "extra": json.dumps({"bootstrap.servers": "b:9092"})})
IN_QUERY = "kafka://?__extra__=%7B%22bootstrap.servers%22%3A+%22b%3A9092%22%7D"


@pytest.mark.parametrize("variable", [URI, JSON, NESTED, IN_QUERY])
def test_kafka_is_found_by_the_variable_of_the_connection(monkeypatch, tmp_path, variable):
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "no-stack"))
    monkeypatch.setenv("AIRFLOW_CONN_OTHER_KAFKA", variable)
    found = find_kafka("other_kafka", None)
    assert found.bootstrap_servers == "b:9092"


def test_a_setting_that_kafka_does_not_know_is_refused(new_file, monkeypatch, tmp_path):
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "no-stack"))
    extra = {"bootstrap.servers": "b:9092", "no.such.setting": "1"}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": extra}))
    ran = CliRunner().invoke(app, ["peek", new_file("array").name])
    assert ran.exit_code == 1
    assert_readable(ValueError(ran.stderr.strip()), "no.such.setting")


@pytest.mark.parametrize(
    ("milliseconds", "expected"), [(-1, "none"), (0, "1970-01-01 00:00:00.000"), (2**63 - 1, "ms")]
)
def test_any_time_is_shown(milliseconds, expected):
    assert expected in record_view.shown_time(milliseconds)


def test_kafka_is_found_where_the_local_broker_runs(broker, monkeypatch):
    monkeypatch.setattr(kafka_access, "default_data_dir", lambda: broker.data_dir)
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", JSON)
    assert find_kafka(CONNECTION, None).bootstrap_servers == broker.bootstrap_servers


@pytest.mark.parametrize(
    "variable", ["", "{", '{"extra": {}}', '{"extra": "["}', "kafka://host:9092", '{"extra": [1]}']
)
def test_the_address_of_kafka_has_to_be_given(monkeypatch, tmp_path, variable):
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "no-stack"))
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", variable)
    with pytest.raises(NoKafka) as refused:
        find_kafka(CONNECTION, None)
    assert_readable(refused.value, "AIRFLOW_CONN_KAFKA_DEFAULT", "--bootstrap-servers")


def test_a_schema_registry_is_found_by_its_variable(kafka, new_topic, new_name, tmp_path, monkeypatch, peek):
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    name, topic = new_name(), new_topic()
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    (tmp_path / f"{name}.toml").write_text(
        f'description = "test"\n[topics]\nsamples = "{topic}"\n[format]\n{FORMATS["text"]}\n'
        '[envelope]\nkind = "avro"\ncontent = "says"\n[registry]\nconnection = "schemas"\n'
        '[model]\nkind = "convnet"\n[training]\nlabels = ["a", "b"]\nschedule = "0 * * * *"\n'
        '[prediction]\nschedule = "0 * * * *"\n'
    )
    login, _, password = USER.partition(":")
    schema = '{"type": "record", "name": "Saying", "fields": [{"name": "says", "type": "string"}]}'
    with running_registry() as server:
        variable = {"conn_type": "http", "host": server.url, "login": login, "password": password}
        monkeypatch.setenv("AIRFLOW_CONN_SCHEMAS", json.dumps(variable))
        registry = SchemaRegistryClient(dict(find_registry("schemas").settings))
        value = AvroSerializer(registry, schema)({"says": "hello"}, SerializationContext(topic, MessageField.VALUE))
        produce(kafka, topic, [Record(value, None), Record(b"no wire", None)])

        said = shown(peek(load_pipeline(name), "--topic", "samples"))

    assert "content hello" in said
    assert "wrong no-wire-format" in said
    assert password not in said


@pytest.mark.parametrize("variable", [None, "{no json"])
def test_without_a_variable_that_can_be_read_no_registry_is_found(monkeypatch, variable):
    if variable:
        monkeypatch.setenv("AIRFLOW_CONN_SCHEMAS", variable)
    with pytest.raises(NoKafka) as refusal:
        find_registry("schemas")
    assert_readable(refusal.value, "AIRFLOW_CONN_SCHEMAS")


def test_external_records_are_shown_as_the_pipeline_reads_them(kafka, new_topic, new_name, tmp_path, monkeypatch, peek):
    name, topic = new_name(), new_topic()
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    (tmp_path / f"{name}.toml").write_text(
        f'description = "test"\n[topics]\nsamples = "{topic}"\n[format]\n{FORMATS["text"]}\n'
        '[envelope]\nkind = "json"\ncontent = "says"\nid = "number"\n[labels]\nkind = "field"\nname = "class"\n'
        '[model]\nkind = "convnet"\n[training]\nlabels = ["a", "b"]\nschedule = "0 * * * *"\n'
        '[prediction]\nschedule = "0 * * * *"\n'
    )
    good, bad = {"says": "good evening", "number": 17, "class": "b"}, {"number": 18, "class": "b"}
    produce(kafka, topic, [Record(json.dumps(value).encode(), None) for value in (good, bad)])

    said = shown(peek(load_pipeline(name)))

    for expected in (f"{topic}/0/0", "id 17", "label b", "good evening", "wrong missing-field: Field 'says'"):
        assert expected in said
    assert said.count("wrong") == 1
