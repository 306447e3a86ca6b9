"""A file's tables fit each other: who fills which topic, how its records are read, and what starts a run."""

from __future__ import annotations

import pytest

from include.definition.files import InvalidPipeline, read_pipeline
from include.definition.pipeline import Pipeline
from tests.support.external_topics import ARTICLE

SOURCE = '[source]\nkind = "digits"\n'


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "theirs.toml").write_text(text)
        return read_pipeline(tmp_path / "theirs.toml")

    return read


def test_a_pipeline_may_have_external_topics_only(read):
    pipeline = read(ARTICLE)

    assert isinstance(pipeline, Pipeline), pipeline
    assert (pipeline.samples_topic, pipeline.requests_topic) == ("image_topic", "image_topic")
    assert pipeline.external_topics == ("image_topic", "image_labels")
    own = {spec.name for spec in pipeline.topic_specs()}
    assert own == {"theirs.predictions", "theirs.repredictions", "theirs.dead-letters", "millrace.ledger"}


def test_the_dead_letters_of_external_requests_have_room_for_the_largest(read):
    specs = {spec.name: spec for spec in read(ARTICLE).topic_specs(10_000_000)}

    assert int(specs["theirs.dead-letters"].config["max.message.bytes"]) > 10_000_000


def test_a_given_split_needs_a_source_that_gives_it(read):
    text = ARTICLE.split("[envelope]")[0].replace('samples = "image_topic"', "").replace('requests = "image_topic"', "")
    text += SOURCE + '[model]\nkind = "convnet"\n[training]\nlabels = ["a", "b"]\nsplit = "given"\n'
    invalid = read(text)

    assert isinstance(invalid, InvalidPipeline)
    assert any(fault.startswith('training.split = "given"') for fault in invalid.faults), invalid.faults


def test_only_a_classification_has_best_labels(read):
    text = ARTICLE.replace('schedule = "*/10 * * * *"', 'schedule = "*/10 * * * *"\ntop_k = 3')
    assert isinstance(read(text), Pipeline)

    invalid = read(text.replace("[training]", '[training]\ntask = "multi-label"'))

    assert isinstance(invalid, InvalidPipeline)
    assert any(fault.startswith("prediction.top_k = 3") for fault in invalid.faults), invalid.faults


def test_the_requests_alone_may_be_external(read):
    text = ARTICLE.replace('samples = "image_topic"\n', "").replace('schedule = "0 2 * * *"\n', "")
    text = text.replace('[labels]\nkind = "topic"\ntopic = "image_labels"\n', "")

    pipeline = read(f"{text}{SOURCE}[ingest]\nrequests_share = 0\n")

    assert isinstance(pipeline, Pipeline), pipeline
    assert pipeline.record_layout("theirs.samples").envelope.kind == "millrace"
    assert pipeline.record_layout("image_topic").envelope.kind == "bare"


@pytest.mark.parametrize(
    ("replaced", "by", "expected"),
    [
        ('samples = "image_topic"\n', "", ["source: field required", "samples under [topics]"]),
        ("[model]", f"{SOURCE}[model]", ["topics.samples = 'image_topic'", "[source]"]),
        ("[model]", "[ingest]\nrecords = 10\n[model]", ["ingest", "no [source]"]),
        (
            'schedule = "*/10 * * * *"',
            'schedule = "*/10 * * * *"\nmin_records = 100',
            ["prediction.schedule = '*/10 * * * *'", "remove it or them"],
        ),
        (
            'schedule = "*/10 * * * *"',
            "max_wait_s = 60",
            ["prediction.max_wait_s = 60", "begins at the first request", "raise prediction.min_records"],
        ),
        (
            "[model]",
            '[watch]\nlabels = { topic = "more_labels" }\n[model]',
            ["watch.labels.topic = 'more_labels'", "remove this table"],
        ),
        (
            '[labels]\nkind = "topic"\ntopic = "image_labels"\n',
            "[watch]\nmin_score = 0.9\n",
            ["watch.min_score = 0.9", "nothing labels its answers", "watch.labels.topic"],
        ),
        (
            '[labels]\nkind = "topic"\ntopic = "image_labels"\n',
            '[watch]\nlabels = { topic = "image_topic" }\n',
            ["watch.labels.topic = 'image_topic'", "name one of labels"],
        ),
        ("[model]", "[watch]\nwindow = 100\n[model]", ["watch.min_samples = 200", "a window of 100", "raise window"]),
        ('"0 2 * * *"', '"daily"', ["training.schedule = 'daily'", "five fields"]),
        ('topic = "image_labels"', 'topic = "image_topic"', ["labels.topic = 'image_topic'", "name one of labels"]),
        (
            'topic = "image_labels"',
            'topic = "millrace.ledger"',
            ["labels.topic = 'millrace.ledger'", "no external topic"],
        ),
        ('topic = "image_labels"', 'topic = "image labels"', ["labels.topic = 'image labels'", "pattern"]),
        ('topic = "image_labels"', "", ["labels.topic", "required"]),
        (
            'kind = "topic"\ntopic = "image_labels"',
            'kind = "field"\nname = "digit"',
            ["labels.name = 'digit'"],
        ),
        ('kind = "topic"\ntopic', "topic", ["labels.kind", "required", "field, header, key, topic"]),
        ('requests = "image_topic"', 'requests = "theirs.predictions"', ["topics.requests = 'theirs.predictions'"]),
        ('requests = "image_topic"', 'requests = "theirs.repredictions"', ["topics.requests = 'theirs.repredictions'"]),
        ('requests = "image_topic"', 'requests = ".."', ["topics.requests = '..'"]),
        ('kind = "bare"', 'kind = "xml"', ["envelope.kind = 'xml'", "bare", "json", "millrace"]),
        ('kind = "bare"', 'kind = "json"', ["envelope.content", "required"]),
        ('kind = "bare"', 'kind = "json"\ncontent = "a..b"', ["envelope.content = 'a..b'", "pattern"]),
        (
            "[training]",
            "[training]\nincremental = true\nstart_from = 'champion'",
            ["training.incremental = true", "late"],
        ),
        (
            "[model]",
            "[promotion]\nclass_floors = {zebra = 0.5}\n[model]",
            ["promotion.class_floors.zebra", "correct it"],
        ),
        (
            'schedule = "*/10 * * * *"',
            'schedule = "*/10 * * * *"\ncloud_events = true\ncarry = ["ce_id"]',
            ["prediction.carry", "'ce_id'", "leave it out"],
        ),
        ("[model]", "[alerts]\nwaiting_s = 60\n[model]", ["alerts.waiting_s = 60", "prediction.schedule"]),
        (
            "[model]",
            '[[alerts.notify]]\nnotifier = "notifier"\n[model]',
            ["alerts.notify.0.notifier = 'notifier'", "pattern"],
        ),
        ("[model]", '[promotion]\napprovers = ["ada"]\n[model]', ["promotion.approvers", 'set approval = "person"']),
        (
            "[training]",
            '[promotion]\nclass_floor = 0.5\n[training]\ntask = "multi-label"',
            ["promotion.class_floor = 0.5", "only a classification"],
        ),
        ("[model]", '[signing]\nconnection = "keys"\n[model]', ["labels.topic = 'image_labels'", "[signing]"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tables_that_contradict_each_other_are_a_fault_with_its_fix(read, replaced, by, expected):
    assert ARTICLE.count(replaced) == 1, replaced

    invalid = read(ARTICLE.replace(replaced, by))

    assert isinstance(invalid, InvalidPipeline), "it is valid"
    said = [fault for fault in invalid.faults if all(part.lower() in fault.lower() for part in expected)]
    assert len(said) == 1, invalid.faults


ROWS = """
description = "Who survived?"
[format]
kind = "row"
numbers = ["age", "ticket.fare"]
categories = ["sex"]
[source]
kind = "passengers"
[model]
kind = "rows"
[training]
labels = ["died", "survived"]
"""
TEXTS = '[format]\nkind = "text.utf8"\nlength = 9\n'
EXTERNAL = '[topics]\nsamples = "people"\nrequests = "people"\n[prediction]\nschedule = "0 * * * *"\n'


def test_rows_are_learnt_by_their_own_network_or_the_user_s(read):
    assert isinstance(read(ROWS), Pipeline)
    assert isinstance(read(ROWS.replace('"rows"', '"my_package.my_module:build"')), Pipeline)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROWS.replace('"rows"', '"ngrams"'), ["model.kind = 'ngrams'", "'rows'"]),
        (TEXTS + ROWS.split("categories")[1].split("\n", 1)[1], ["format.kind = 'text.utf8'", "'row'"]),
        (
            ROWS.replace('"rows"', '"rows"\ninputs = {numbers = 1, categories = 1, codes = 9}'),
            ["model.inputs", "remove"],
        ),
        (ROWS + "[envelope]\nkind = 'json'\ncontent = 'x'", ["envelope.content_is = 'text'", '"row"']),
        (ROWS + "[envelope]\nkind = 'json'\ncontent_is = 'row'\ncolumns = ['x']", ["envelope.columns", "remove"]),
        (
            TEXTS + ROWS.split("categories")[1].split("\n", 1)[1] + "[envelope]\nkind = 'json'\ncontent_is = 'row'",
            ["format.kind = 'text.utf8'", "envelope.content_is = 'row'"],
        ),
    ],
)
def test_rows_and_what_is_no_row_are_not_mixed(read, text, expected):
    invalid = read(text if text.startswith("\n") else f"description = 'x'\n{text}")

    assert isinstance(invalid, InvalidPipeline), "it is valid"
    assert [fault for fault in invalid.faults if all(part in fault for part in expected)], invalid.faults


def test_the_layout_of_external_rows_has_the_format_s_columns(read):
    text = ROWS.replace('[source]\nkind = "passengers"\n', "").replace(
        "[training]", '[training]\nschedule = "0 * * * *"'
    )
    pipeline = read(f"{text}{EXTERNAL}[envelope]\nkind = 'json'\ncontent_is = 'row'\n")

    assert isinstance(pipeline, Pipeline), pipeline
    assert pipeline.record_layout("people").envelope.columns == ("age", "ticket.fare", "sex")
    assert pipeline.envelope.columns == ()


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ("", []),
        ("[envelope]\nkind = 'bare'", ["envelope", "[topics] names none"]),
        ("[labels]\nkind = 'header'\nname = 'class'", ["labels", "topics.samples names none"]),
        (
            "[topics]\nrequests = 't'\n[prediction]\nschedule = '0 * * * *'",
            ["ingest.requests_share = 0.1", "set 0"],
        ),
    ],
    ids=["nothing", "envelope", "labels", "sharing"],
)
def test_tables_about_external_topics_are_a_fault_where_there_are_none(read, tables, expected):
    plain = 'description = "d"\n[format]\nkind = "text.utf8"\nlength = 9\n[model]\nkind = "convnet"\n'

    found = read(f'{plain}[training]\nlabels = ["a", "b"]\n{SOURCE}{tables}\n')

    faults = found.faults if isinstance(found, InvalidPipeline) else ()
    assert len(faults) == bool(expected), faults
    for part in expected:
        assert part in faults[0]


def test_requests_by_groups_of_a_source_without_any_are_a_fault(read):
    plain = 'description = "d"\n[format]\nkind = "text.utf8"\nlength = 9\n[model]\nkind = "ngrams"\n'
    tables = '[training]\nlabels = ["a", "b"]\n[ingest]\nrequests_by = "group"\n[source]\nkind = "folder"\npath = "p"\n'

    invalid = read(plain + tables)

    assert isinstance(invalid, InvalidPipeline)
    assert "ingest.requests_by = 'group'" in invalid.faults[0]
    assert isinstance(read(plain + tables + "group = '(.)'\n"), Pipeline)
