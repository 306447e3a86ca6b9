"""`new-pipeline --modality text`: the file that goes with folders and tables of text."""

from __future__ import annotations

import pytest
import torch

from include.commands.text_survey import LONGEST
from tests.support.command_line import assert_refused, written_pipeline
from tests.support.folders import LocalFolder
from tests.support.tables import ENDINGS, table

TEXTS = {"praise": "A good film, très bon.", "blame": "A bad film, 映画."}


@pytest.fixture
def place(tmp_path):
    return LocalFolder(tmp_path / "reviews")


def fill(place, count=20, **more):
    for label, text in {**TEXTS, **more}.items():
        for number in range(count):
            place.write(f"{label}/{number}.txt", text.encode() if isinstance(text, str) else text)


def texts(pipelines, *arguments):
    return written_pipeline(pipelines, "--modality", "text", *arguments)


def test_a_folder_of_text_files_becomes_a_valid_pipeline(pipelines, place):
    fill(place)
    place.write("praise/cover.png", b"")
    pipeline, said = texts(pipelines, "--path", place.path)

    assert pipeline.training.labels == ("blame", "praise")
    samples = pipeline.source.open().read(0, 100)
    assert len(samples) == 40
    assert not pipeline.format.decode([sample.content for sample in samples]).refusals
    network = pipeline.model.build(pipeline.format.input_shape, 2)
    assert network(torch.zeros(1, *pipeline.format.input_shape)).shape == (1, 2)
    for expected in ("40 texts of 2 classes", "text.utf8", "1 .png"):
        assert expected in said


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_with_a_column_of_text_becomes_a_valid_pipeline(pipelines, place, ending):
    rows = [{"key": f"{label}-{n}", "words": text, "kind": label} for n in range(8) for label, text in TEXTS.items()]
    place.write(f"t.{ending}", table(ending, rows))
    columns = ("--content", "words", "--label", "kind", "--id", "key")
    pipeline, said = texts(pipelines, "--source", "table", "--path", f"{place.path}/t.{ending}", *columns)

    samples = pipeline.source.open().read(0, 100)
    assert [(sample.id, sample.label) for sample in samples] == [(row["key"], row["kind"]) for row in rows]
    assert not pipeline.format.decode([sample.content for sample in samples]).refusals
    assert "16 texts of 2 classes" in said


@pytest.mark.parametrize(
    ("labels", "rows", "kind", "optimizer"),
    [
        pytest.param("c{}", 100, "tfidf", "sgd", id="classes"),
        pytest.param("c{}", 101, "ngrams", "adamw", id="many classes, each of which would have a number per n-gram"),
        pytest.param("{}.5", 60, "ngrams", "adamw", id="numbers, whose steepest slope limits the learning rate"),
    ],
)
def test_texts_of_some_classes_get_a_linear_network(pipelines, place, labels, rows, kind, optimizer):
    place.write("t.csv", table("csv", [{"words": f"row {n}", "y": labels.format(n % rows)} for n in range(2 * rows)]))
    columns = ("--content", "words", "--label", "y")
    pipeline, _ = texts(pipelines, "--source", "table", "--path", f"{place.path}/t.csv", *columns)

    assert (pipeline.model.kind, pipeline.training.optimizer) == (kind, optimizer)


@pytest.mark.parametrize("longest", [1, 64, 1000, LONGEST])
def test_the_format_has_room_for_the_longest_text(pipelines, place, longest):
    fill(place, count=2, long=b"x" * longest)
    pipeline, _ = texts(pipelines, "--path", place.path)

    assert longest <= pipeline.format.length <= 2 * longest + 64


def test_a_few_very_long_texts_do_not_make_all_others_slow(pipelines, place):
    fill(place, count=100)
    place.write("praise/book.txt", b"x" * 1_000_000)
    pipeline, said = texts(pipelines, "--path", place.path)

    assert pipeline.format.length < 2 * LONGEST
    assert "1 are longer" in said
    assert "1,000,000" in (pipelines / "flowers.toml").read_text()


def test_texts_that_are_not_utf8_are_told(pipelines, place):
    fill(place)
    place.write("praise/old.txt", "très".encode("latin-1"))
    _, said = texts(pipelines, "--path", place.path)

    assert "praise/old.txt: Byte 2" in said


def test_what_no_pipeline_could_learn_from_is_refused(pipelines, place):
    path = ("--modality", "text", "--path", place.path)
    place.write("praise/a.pdf")
    assert_refused(pipelines, *path, names=("no .txt file", "1 of .pdf"))
    place.write("praise/a.txt", b"\xff")
    assert_refused(pipelines, *path, names=("'praise'", "add another class"))
    place.write("blame/a.txt", b"\xff")
    assert_refused(pipelines, *path, names=("None of the 2 texts", "UTF-8"))
    place.write("b.txt", b"text")
    assert_refused(pipelines, *path, names=("'b.txt'", "name of its class"))


def test_a_table_whose_columns_are_not_named_tells_them(pipelines, place):
    place.write("t.csv", table("csv", [{"words": "x", "kind": "y"}]))
    path = ("--modality", "text", "--source", "table", "--path", f"{place.path}/t.csv")
    assert_refused(pipelines, *path, names=("'words', 'kind'", "the texts with --content", "--label"))


def test_rows_from_the_whole_table_are_opened(pipelines, place):
    rows = [{"words": "x" if number < 5900 else "\0", "kind": "ab"[number % 2]} for number in range(6000)]
    place.write("t.csv", table("csv", rows))
    _, said = texts(pipelines, "--source", "table", "--path", place.path, "--content", "words", "--label", "kind")

    assert "t.csv:5" in said


@pytest.mark.parametrize("rows_of_each", [1, 2])
def test_a_column_of_many_values_is_one_of_classes_if_they_come_several_times(pipelines, place, rows_of_each):
    rows = [{"words": "x", "kind": f"k{number}"} for number in range(1200)] * rows_of_each
    place.write("t.csv", table("csv", rows))
    arguments = ("--source", "table", "--path", place.path, "--content", "words", "--label", "kind")
    if rows_of_each == 1:
        assert_refused(pipelines, "--modality", "text", *arguments, names=("'kind'", "1200 values", "--label"))
    else:
        assert len(texts(pipelines, *arguments)[0].training.labels) == 1200
