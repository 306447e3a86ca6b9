"""`new-pipeline --modality rows`: the file that goes with a table."""

from __future__ import annotations

import datetime as dt
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.network.build import build_network
from tests.support.command_line import assert_refused, written_pipeline
from tests.support.folders import LocalFolder
from tests.support.tables import ENDINGS, table

PORTS = ("S", "C", "Q")


@pytest.fixture
def place(tmp_path):
    return LocalFolder(tmp_path / "people")


def people(count=60):
    random = np.random.default_rng(1)
    return [
        {
            "key": number + 1,
            "name": f"Person {number}",
            "age": None if number % 10 == 3 else float(random.integers(1, 80)) + 0.5,
            "fare": "NA" if number % 20 == 5 else str(random.integers(1, 300)),
            "code": f"0{number % 3}",
            "port": PORTS[number % 3],
            "planet": "Earth",
            "survived": "yes" if number % 3 else "no",
        }
        for number in range(count)
    ]


def rows(pipelines, path, *arguments):
    return written_pipeline(pipelines, "--modality", "rows", "--source", "table", "--path", path, *arguments)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_becomes_a_valid_pipeline(pipelines, place, ending):
    place.write(f"t.{ending}", table(ending, people()))
    pipeline, said = rows(pipelines, f"{place.path}/t.{ending}", "--label", "survived")

    assert (pipeline.format.numbers, pipeline.format.categories) == (("age", "fare"), ("code", "port"))
    assert (pipeline.format.missing, pipeline.format.missing_texts) == ("mark", ("NA",))
    assert pipeline.training.labels == ("no", "yes")
    assert (pipeline.training.epochs, pipeline.training.threads) == (20, 1)
    samples = pipeline.source.open().read(0, 100)
    assert not pipeline.format.decode([sample.content for sample in samples]).refusals
    assert build_network(pipeline.sized_model, pipeline.format.input_shape, pipeline.training.target(), file="x.toml")
    for expected in (
        "60 rows of 2 classes",
        "2 numbers and 2 categories",
        "'key' is left out: it numbers the rows",
        "'name' is left out: 60 of 60 texts are different",
        "'planet' is left out: it has one value only",
    ):
        assert expected in said


def test_whole_rows_are_refused_where_one_lacks_a_value_later(pipelines, place):
    place.write("t.csv", table("csv", [{**row, "age": 1, "fare": row["key"] % 7} for row in people()]))
    pipeline, _ = rows(pipelines, f"{place.path}/t.csv", "--label", "survived")
    assert (pipeline.format.missing, pipeline.format.missing_texts) == ("refuse", ())


def test_columns_may_be_named(pipelines, place):
    place.write("t.csv", table("csv", people()))
    pipeline, said = rows(
        pipelines, f"{place.path}/t.csv", "--label", "survived", "--content", "key, port", "--id", "name"
    )
    assert pipeline.format.columns == pipeline.source.content == ("key", "port")
    assert pipeline.source.id == "name"
    assert "left out" not in said


def test_a_column_without_a_name_is_left_out(pipelines, place):
    lines = [f"{n},{n % 7},{'ab'[n % 2]}" for n in range(60)]
    place.write("t.csv", "\n".join([",size,y", *lines, ""]).encode())
    pipeline, _ = rows(pipelines, f"{place.path}/t.csv", "--label", "y")
    assert pipeline.format.columns == ("size",)


def test_what_no_pipeline_could_learn_from_is_refused(pipelines, place):
    path = f"{place.path}/t.csv"
    place.write("t.csv", table("csv", [{"name": f"n{n}", "y": "ab"[n % 2]} for n in range(60)]))
    usual = ("--modality", "rows", "--source", "table", "--path", path)
    assert_refused(pipelines, *usual, names=("'name'", "'y'", "--label"))
    assert_refused(pipelines, *usual, "--label", "y", names=("no column of numbers or categories", "'y'", "--content"))
    place.write("t.csv", b"y\na\nb\n")
    assert_refused(pipelines, *usual, "--label", "y", names=("no column to learn from", "'y'"))
    assert_refused(pipelines, "--modality", "rows", "--path", place.path, names=("--source table", "--label"))


def parquet(**columns):
    output = io.BytesIO()
    pq.write_table(pa.table(columns), output)
    return output.getvalue()


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        pytest.param([{"a": 1}] * 60, "dict", id="an object"),
        pytest.param([dt.timedelta(hours=1)] * 60, "timedelta", id="a duration"),
        pytest.param(pa.array([[("k", 1)]] * 60, pa.map_(pa.string(), pa.int64())), "tuple", id="a map"),
    ],
)
def test_a_column_without_texts_is_left_out_and_the_others_stay(pipelines, place, cells, kind):
    size = [number % 7 + 0.5 for number in range(60)]
    place.write("t.parquet", parquet(size=size, odd=cells, y=["ab"[number % 2] for number in range(60)]))
    pipeline, said = rows(pipelines, f"{place.path}/t.parquet", "--label", "y")

    assert pipeline.format.columns == ("size",)
    assert "Column 'odd' is left out: its cells have no text (" in said
    assert kind in said
    assert not any(sample.fault for sample in pipeline.source.open().read(0, 100))


def test_a_row_that_would_be_left_out_is_said_with_its_cell(pipelines, place):
    size = [float("inf") if number == 7 else number % 7 + 0.5 for number in range(60)]
    place.write("t.parquet", parquet(size=size, y=["ab"[number % 2] for number in range(60)]))
    pipeline, said = rows(pipelines, f"{place.path}/t.parquet", "--label", "y")

    assert pipeline.format.numbers == ("size",)
    assert "t.parquet:8: A cell of the row has no single text: inf of type float" in said


@pytest.mark.parametrize(
    "written", ["{},5", "1.{:03d},50", "1,{:03d}", "1\xa0{:03d}", "{}%", "${}.50", "{},5 €", "\u2212{}.5"]
)
def test_numbers_as_people_write_them_are_named_as_what_they_are(pipelines, place, written):
    lines = [f"{n % 7};{written.format(n)};{'ab'[n % 2]}" for n in range(60)]
    place.write("t.csv", "\n".join(["size;price;y", *lines, ""]).encode())
    pipeline, said = rows(pipelines, f"{place.path}/t.csv", "--label", "y")

    assert pipeline.format.columns == ("size",)
    assert f"its numbers are written as {written.format(0)!r}: write them as 1234.5" in said


def test_few_numbers_with_other_signs_are_categories_and_this_is_said(pipelines, place):
    lines = [f"{n % 7};{n % 5},5;{'ab'[n % 2]}" for n in range(60)]
    place.write("t.csv", "\n".join(["size;dose;y", *lines, ""]).encode())
    pipeline, said = rows(pipelines, f"{place.path}/t.csv", "--label", "y")

    assert (pipeline.format.numbers, pipeline.format.categories) == (("size",), ("dose",))
    assert "Column 'dose' is one of categories, since its numbers are written as '0,5'" in said


def test_lists_of_labels_become_several_labels(pipelines, place):
    labels = [["a", "b"] if number % 3 else ["a"] for number in range(59)]
    place.write("t.parquet", parquet(size=[number % 7 for number in range(60)], y=[*labels, None]))
    pipeline, said = rows(pipelines, f"{place.path}/t.parquet", "--label", "y")

    assert (pipeline.training.task, pipeline.training.labels) == ("multi-label", ("a", "b"))
    assert "Found 60 rows of 2 labels, several of which one may have ('a' 59, 'b' 39)" in said
    target = pipeline.training.target()
    read = [target.read(sample.label) for sample in pipeline.source.open().read(0, 59)]
    assert read[:2] == [[1.0, 0.0], [1.0, 1.0]]


def test_a_column_of_ids_that_come_twice_is_said(pipelines, place):
    place.write("t.csv", table("csv", [{"key": n // 2, "size": n % 7, "y": "ab"[n % 2]} for n in range(60)]))
    _, said = rows(pipelines, f"{place.path}/t.csv", "--label", "y", "--id", "key")

    assert "Column 'key' is no id: '0' for instance comes in several rows" in said


def test_classes_that_differ_in_blanks_or_case_are_said(pipelines, place):
    place.write("t.csv", table("csv", [{"size": n % 7, "y": ("cat", "cat ", "Cat", "dog")[n % 4]} for n in range(60)]))
    pipeline, said = rows(pipelines, f"{place.path}/t.csv", "--label", "y")

    assert len(pipeline.training.labels) == 4
    assert "The classes 'Cat' and 'cat' and 'cat ' differ in blanks or case only" in said
