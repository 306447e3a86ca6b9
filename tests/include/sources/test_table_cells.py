"""Typed cells as labels, groups and ids, and the rows that a quote may hide."""

from __future__ import annotations

import gzip
import json
from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet
import pytest

from include.sources.base import SourceRefused
from include.sources.table import TableSource
from tests.support.assertions import assert_readable
from tests.support.tables import ENDINGS, table


def source(path, **settings):
    return TableSource(**{"path": str(path), "settle_s": 0, "content": "text", "label": "language", **settings})


def write_parquet(folder, column, metadata=None):
    rows = pa.table({"text": ["x"] * len(column), "language": column}).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(rows, folder / "t.parquet")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (3.0, "3"),
        (2.5, "2.5"),
        (True, "true"),
        (float("nan"), None),
        (["a", "b"], '["a", "b"]'),
        ([1.5, 2.5], "[1.5, 2.5]"),
        ([], "[]"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_typed_cell_is_the_same_text_in_every_format(tmp_path, ending, value, text):
    (tmp_path / f"t.{ending}").write_bytes(table(ending, [{"text": "x", "language": value}]))

    sample = source(tmp_path, group="language").read(0, 1)[0]

    assert (sample.label, sample.group, sample.fault) == (text, text, None)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([b"cat"]), "cat"),
        (pa.array([0.1], pa.float32()), "0.1"),
        (pa.array([[0.1, 2]], pa.list_(pa.float32())), "[0.1, 2]"),
        (pa.array([Decimal("1.50")]), "1.5"),
        (pa.array([Decimal("2.00")]), "2"),
        (pa.array([date(2026, 6, 1)]), "2026-06-01"),
        (pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
        (pa.array([0], pa.timestamp("s", "UTC")), "1970-01-01T00:00:00+00:00"),
        (pa.array(["cat"]).dictionary_encode(), "cat"),
        (pa.array([2**63], pa.uint64()), str(2**63)),
        (pa.array([float("nan")], from_pandas=False), None),
        (pa.array([None], pa.float32()), None),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_parquet_s_types_have_texts(tmp_path, column, text):
    write_parquet(tmp_path, column)

    sample = source(tmp_path).read(0, 1)[0]

    assert (sample.label, sample.fault) == (text, None)


@pytest.mark.parametrize("value", [{"a": 1}, [["a"]], ["a", None], float("inf"), b"\xff", timedelta(1)], ids=repr)
@pytest.mark.parametrize("role", ["label", "id", "group"])
def test_a_row_whose_cell_has_no_one_text_is_left_out(tmp_path, value, role):
    rows = pa.Table.from_pylist([{"text": "x", "language": "a", "odd": value}])
    pyarrow.parquet.write_table(rows, tmp_path / "t.parquet")

    sample = source(tmp_path, **{role: "odd"}).read(0, 1)[0]

    assert (sample.id, sample.content) == ("t.parquet:1", b"")
    assert_readable(ValueError(sample.fault), "'odd'", "row 1", "t.parquet", "of type")


def class_label(feature=None):
    """The metadata that Hugging Face's datasets write."""
    feature = feature or {"names": ["de", "en"], "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": {"language": feature}}})}


LIST = {"feature": {"names": ["de", "en"], "_type": "ClassLabel"}, "_type": "List"}


@pytest.mark.parametrize(
    ("cells", "metadata", "labels"),
    [
        ([0, 1, -1, None], class_label(), ["de", "en", None, None]),
        ([[0, 1], []], class_label(LIST), ['["de", "en"]', "[]"]),
        ([0, 1], class_label({"dtype": "int64", "_type": "Value"}), ["0", "1"]),
        ([0, 1], {"huggingface": "no JSON"}, ["0", "1"]),
    ],
)
def test_the_names_of_classes_are_the_labels(tmp_path, cells, metadata, labels):
    write_parquet(tmp_path, cells, metadata)

    assert [sample.label for sample in source(tmp_path).read(0, 9)] == labels
    assert source(tmp_path, class_names=False).read(0, 1)[0].label in ("0", "[0, 1]")


def test_a_number_that_is_none_of_the_classes_is_left_out(tmp_path):
    write_parquet(tmp_path, [2], class_label())

    assert_readable(ValueError(source(tmp_path).read(0, 1)[0].fault), "2 of type ClassLabel", "2 classes")


@pytest.mark.parametrize("place", [0, 3])
def test_a_row_of_jsonl_that_lacks_a_key_has_null(tmp_path, place):
    rows = [{"text": "x", "language": "a"}, {"text": "x", "language": "b"}, {"text": "x", "language": "a"}]
    rows.insert(place, {"text": "none yet"})
    (tmp_path / "t.jsonl").write_bytes(table("jsonl", rows))

    assert source(tmp_path).count() == 4
    assert [sample.label for sample in source(tmp_path).read(0, 9)].index(None) == place
    assert source(tmp_path).read(1, 9)[0].id == "t.jsonl:2"


def test_a_key_that_no_row_of_jsonl_has_is_refused_with_those_that_are_there(tmp_path):
    (tmp_path / "t.jsonl").write_bytes(table("jsonl", [{"text": "x", "lang": "a"}, {"text": "x", "tongue": "b"}]))

    with pytest.raises(SourceRefused) as refusal:
        source(tmp_path).count()

    assert_readable(refusal.value, "'language'", "'text', 'lang', 'tongue'")


def test_a_quote_of_tsv_is_a_character(tmp_path):
    lines = ["text\tlanguage", *["word\tb"] * 20, '"Unbalanced\ta', "plain\tb", 'its end"\ta']
    (tmp_path / "t.tsv").write_text("\n".join(lines))

    assert source(tmp_path).count() == 23
    assert source(tmp_path).read(20, 9)[0].content == b'"Unbalanced'


@pytest.mark.parametrize(("swallowed", "settings"), [(9, {}), (2000, {"quote": '"'})])
def test_a_quote_that_swallows_rows_is_refused_with_its_line(tmp_path, swallowed, settings):
    lines = ["text,language", "x,b", '"Unbalanced,a', *["plain,b"] * swallowed, 'its end",a']
    (tmp_path / "t.csv").write_text("\n".join(lines))

    with pytest.raises(SourceRefused) as refusal:
        source(tmp_path, **settings).count()

    assert_readable(refusal.value, "line 3", "t.csv", f"{swallowed + 2:,} lines", "quote")


def test_a_cell_of_many_lines_is_logged_and_may_be_as_long_as_the_setting_says(tmp_path, caplog):
    (tmp_path / "t.csv").write_text("text,language\nx,a\n" + '"' + "a, b\n" * 2000 + '",b\n')
    long = {"quote": '"', "max_cell_lines": 3000}

    assert source(tmp_path, **long).count() == 2
    assert len(source(tmp_path, **long).read(1, 1)[0].content) == 10_000
    assert "2 rows on 2002 lines" in caplog.text
    assert "line 3" in caplog.text


@pytest.mark.parametrize("identified", [{}, {"id": "text"}], ids=["without ids", "with ids"])
def test_a_tsv_in_use_goes_on_in_the_way_in_which_it_was_read(tmp_path, caplog, identified):
    (tmp_path / "t.tsv").write_text('text\tlanguage\n"a\tb"\t"x"\nplain\ty\n"c ""d"""\tx\n')
    before = source(tmp_path, quote='"', **identified).prefix(2)

    going_on = source(tmp_path, **identified).open().resume(2, before, 10)

    assert going_on.read(2, 1)[0].content == b'c "d"'
    assert going_on.prefix(2) == before
    assert "say quote" in caplog.text


@pytest.mark.parametrize("compress", [gzip.compress, lambda content: bytes(pa.compress(content, "zstd", asbytes=True))])
@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zst", "t.csv"])
def test_a_compressed_table_is_read_whatever_it_is_called(tmp_path, compress, name):
    content = b"text,language\n" + b"x,a\ny,b\n" * 5000
    (tmp_path / name).write_bytes(compress(content))

    assert source(tmp_path / name).count() == 10_000
    assert source(tmp_path / name).read(9_999, 2)[0].label == "b"
    (tmp_path / name).write_bytes(compress(content)[:-20])
    with pytest.raises(SourceRefused, match="whole"):
        source(tmp_path / name).count()


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        ("text;language\nCafé;a\nx;b\n".encode("cp1252"), {"encoding": "cp1252", "delimiter": ";"}),
        ("text,language\nCafé,a\nx,b\n".encode("utf-16"), {"encoding": "utf-16"}),
        ("text, language\nCafé, a\nx, b\n".encode(), {"skip_initial_space": True}),
        ("sep=;\r\ntext;language\r\nCafé;a\r\nx;b\r\n".encode("utf-8-sig"), {"delimiter": ";"}),
        ("Café,a\nx,b\n".encode(), {"header": False, "content": "column_1", "label": "column_2"}),
        ("text,language\n'Café','a'\nx,b\n".encode(), {"quote": "'"}),
        ("text\tlanguage\nCaf\\é\ta\nx\tb\n".encode(), {"delimiter": "\t", "quote": "", "escape": "\\"}),
    ],
)
def test_dialects_are_settings(tmp_path, content, settings):
    (tmp_path / "t.csv").write_bytes(content)

    assert source(tmp_path, **settings).count() == 2
    assert [(s.content.decode(), s.label) for s in source(tmp_path, **settings).read(0, 9)] == [
        ("Café", "a"),
        ("x", "b"),
    ]


def test_jsonl_may_have_a_byte_order_mark_or_another_encoding(tmp_path):
    rows = '{"text": "Café", "language": "a"}\n{"text": "x", "language": "b"}\n'
    for encoding, settings in (("utf-8-sig", {}), ("utf-16", {"encoding": "utf-16"})):
        (tmp_path / "t.jsonl").write_bytes(rows.encode(encoding))
        assert source(tmp_path, **settings).count() == 2
        assert source(tmp_path, **settings).read(0, 1)[0].content.decode() == "Café"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_s_name_is_a_column(tmp_path, ending):
    for label in ("de%20AT", "1.0", "__HIVE_DEFAULT_PARTITION__"):
        folder = tmp_path / f"language={label}"
        folder.mkdir()
        (folder / f"t.{ending}").write_bytes(table(ending, [{"text": "x"}, {"text": "y"}]))

    labels = [sample.label for sample in source(tmp_path).read(0, 9)]

    assert sorted(map(str, labels)) == ["1", "1", "None", "None", "de AT", "de AT"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("content", ["pixel*", ["pixel0", "pixel1", "pixel10"], "*[01]"])
def test_several_columns_are_one_content(tmp_path, ending, content):
    rows = [{"pixel1": 1, "pixel10": 2.0, "language": "a", "pixel0": 7}]
    (tmp_path / f"t.{ending}").write_bytes(table(ending, rows))

    sample = source(tmp_path, content=content, content_is="numbers", shape=(3,), dtype="uint8").read(0, 1)[0]

    assert sample.content.tolist() == [7, 1, 2]


def test_a_column_without_a_number_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,language\n1,,x\n")

    sample = source(tmp_path, content=["a", "b"], content_is="numbers", shape=(2,)).read(0, 1)[0]

    assert_readable(ValueError(sample.fault), "'b'", "nothing")


@pytest.mark.parametrize(
    ("cell", "fault"),
    [("12_3", "'12_3' and no number"), (True, "no number"), ([1], "no number"), (10**400, "infinity")],
)
def test_a_cell_that_is_no_number_is_not_taken_for_one(tmp_path, cell, fault):
    (tmp_path / "t.jsonl").write_bytes(table("jsonl", [{"a": 1, "b": cell, "language": "x"}]))

    sample = source(tmp_path, content=["a", "b"], content_is="numbers", shape=(2,), dtype="float32").read(0, 1)[0]

    assert fault in sample.fault


@pytest.mark.parametrize("cell", ["70 80 82", "[70 80 82]", "70,80,82", "[70. 80. 82.]", "70;80;82", "[70, 80, 82]"])
def test_numbers_in_a_cell(tmp_path, cell):
    (tmp_path / "t.csv").write_text(f'text,language\n"{cell}",a\n')

    sample = source(tmp_path, content_is="numbers", shape=(3,), dtype="uint8").read(0, 1)[0]

    assert sample.content.tolist() == [70, 80, 82]
    (tmp_path / "t.csv").write_text('text,language\n"70 ... 82",a\n')
    assert source(tmp_path, content_is="numbers", shape=(3,), dtype="uint8").read(0, 1)[0].fault


@pytest.mark.parametrize("cell", ["0,5;0,7", "0,5 0,7", "0,5; 0,7", "[0,5\t-0,7]"])
def test_commas_that_may_be_decimal_are_no_numbers(tmp_path, cell):
    (tmp_path / "t.csv").write_text(f'text,language\n"{cell}",a\n')

    sample = source(tmp_path, content_is="numbers", shape=(4,), dtype="float32").read(0, 1)[0]

    assert_readable(ValueError(sample.fault), "decimal", "points")


def test_a_spread_is_over_all_tables(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text("text,language\n" + f"x{number},a\n" * 100)

    places = [sample.id for sample in source(tmp_path).spread(10)]

    assert len(places) == 10
    assert [sum(place.startswith(f"{number}.csv") for place in places) for number in range(3)] == [4, 3, 3]
    assert places == [sample.id for sample in source(tmp_path).read(0, 300)][::30]
