"""Tables whose rows are the samples."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from include.codecs.row import RowCodec
from include.sources.table import TableSource
from tests.support.tables import ENDINGS, table

ROWS = [
    {"age": 29.0, "sex": "female", "class": 1, "y": "a"},
    {"age": 0.5, "sex": "male", "class": 3, "y": "b"},
    {"age": None, "sex": None, "class": 1, "y": "a"},
]
COLUMNS = ("age", "sex", "class")
CODEC = RowCodec(numbers=("age",), categories=("sex", "class"), missing="mark")


def rows_of(path, **settings):
    source = TableSource(**{"path": str(path), "settle_s": 0, "content": COLUMNS, "content_is": "row", **settings})
    return source.open().read(0, 10)


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_are_the_same_samples_in_every_format(tmp_path, ending):
    (tmp_path / f"t.{ending}").write_bytes(table(ending, ROWS))
    samples = rows_of(tmp_path, label="y")
    counting = CODEC.counting()
    decoded = counting.decode([sample.content for sample in samples])
    assert decoded.refusals == {}
    assert [sample.label for sample in samples] == ["a", "b", "a"]
    assert counting.statistics.mean == (14.75,)
    assert counting.statistics.vocabularies == (("female", "male"), ("1", "3"))


def test_numbers_of_a_typed_table_are_json_numbers(tmp_path):
    columns = {
        "age": pa.array([0.1, None], pa.float32()),
        "sex": pa.array(["007", "x"]).dictionary_encode(),
        "class": pa.array([True, False]),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert [sample.content for sample in rows_of(tmp_path)] == [
        b'{"age":0.1,"sex":"007","class":"true"}',
        b'{"sex":"x","class":"false"}',
    ]


def test_a_pattern_names_all_columns_but_those_with_another_use(tmp_path):
    (tmp_path / "t.jsonl").write_bytes(table("jsonl", ROWS))
    sample = rows_of(tmp_path, content="*", label="y", group="class")[0]
    assert set(json.loads(sample.content)) == {"age", "sex"}


def test_a_cell_without_a_text_makes_the_row_unfit(tmp_path):
    (tmp_path / "t.jsonl").write_bytes(b'{"age": 1, "sex": {"is": 1}, "class": 1}\n')
    (sample,) = rows_of(tmp_path)
    assert "{'is': 1}" in sample.fault
