"""`new-pipeline --source table`: how a table is written, its order and its groups are found by looking at it."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pytest

from include.commands import table_survey
from include.ingest.chunk import is_request
from tests.support.command_line import assert_refused, run_new_pipeline, written_pipeline
from tests.support.folders import LocalFolder
from tests.support.tables import table

BODY = "text,label\n" + "".join(f"café {number},{'ab'[number % 2]}\n" for number in range(40))
ROWS = [(f"café {number}", "ab"[number % 2]) for number in range(40)]
COLUMNS = ("--content", "text", "--label", "label")


@pytest.fixture
def place(tmp_path):
    return LocalFolder(tmp_path / "tables")


def texts(pipelines, path, *arguments):
    return written_pipeline(pipelines, "--modality", "text", "--source", "table", "--path", path, *arguments)


def rows_of(pipeline, count=1000):
    return [(bytes(sample.content).decode(), sample.label) for sample in pipeline.source.open().read(0, count)]


def settings_in(pipeline):
    keys = {"delimiter", "quote", "escape", "encoding", "header", "skip_initial_space", "suffixes"}
    return pipeline.source.model_dump(include=keys & pipeline.source.model_fields_set)


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        pytest.param("t.csv", BODY.encode(), {}, id="as the source reads it by default"),
        pytest.param("t.csv", BODY.replace(",", ";").encode("utf-8-sig"), {"delimiter": ";"}, id="Excel in Europe"),
        pytest.param("t.csv", b"sep=|\n" + BODY.replace(",", "|").encode(), {"delimiter": "|"}, id="Excel's sep="),
        pytest.param("t.csv", BODY.replace(",", "\t").encode(), {"delimiter": "\t"}, id="tabs in .csv"),
        pytest.param("t.csv", BODY.replace(",", ", ").encode(), {"skip_initial_space": True}, id="blanks"),
        pytest.param("t.csv", BODY.encode("cp1252"), {"encoding": "cp1252"}, id="cp1252"),
        pytest.param("t.csv", BODY.encode("utf-16"), {"encoding": "utf-16"}, id="UTF-16 with its mark"),
        pytest.param("t.tsv", BODY.replace(",", "\t").encode("utf-16-le"), {"encoding": "utf-16-le"}, id="UTF-16 LE"),
        pytest.param("t.tsv", BODY.replace(",", "\t").encode("utf-16-be"), {"encoding": "utf-16-be"}, id="UTF-16 BE"),
        pytest.param("t.csv.gz", gzip.compress(BODY.replace(",", ";").encode()), {"delimiter": ";"}, id="gzip"),
        pytest.param("t.csv.zst", pa.compress(BODY.encode(), "zstd", asbytes=True), {}, id="zstd"),
        pytest.param("d/t.csv.gz", gzip.compress(BODY.encode()), {"suffixes": (".csv.gz",)}, id="a folder of gzip"),
    ],
)
def test_how_a_table_is_written_is_found_and_stands_in_the_file(pipelines, place, name, content, settings):
    place.write(name, content)
    pipeline, _ = texts(pipelines, f"{place.path}/{name if '/' not in name else 'd'}", *COLUMNS)

    assert settings_in(pipeline) == settings
    assert rows_of(pipeline) == ROWS


@pytest.mark.parametrize(
    ("name", "lines", "settings", "rows"),
    [
        pytest.param(
            "t.csv",
            ["text,label", r'"he said \"hi, you\"",a', "plain,b"],
            {"escape": "\\"},
            [('he said "hi, you"', "a"), ("plain", "b")],
            id="an escape, as Spark writes it",
        ),
        pytest.param(
            "t.csv", ["'text','label'", "'x, y','a'", "'z','b'"], {"quote": "'"}, [("x, y", "a"), ("z", "b")], id="'"
        ),
        pytest.param(
            "t.csv",
            ["text,label", '"Unbalanced,a', "plain,b", 'ends here",a', 'an "inner" one,b'],
            {"quote": ""},
            [('"Unbalanced', "a"), ("plain", "b"), ('ends here"', "a"), ('an "inner" one', "b")],
            id="quotes that are characters",
        ),
        pytest.param(
            "t.csv",
            ["text,label", '"Unbalanced,a', 'ends here",b', "x,a"],
            {"quote": ""},
            [('"Unbalanced', "a"), ('ends here"', "b"), ("x", "a")],
            id="quotes around two rows",
        ),
        pytest.param(
            "t.csv",
            ["text,label", '"two', 'lines, and ""q""",a', "x,b"],
            {},
            [('two\nlines, and "q"', "a"), ("x", "b")],
            id="a cell of two lines",
        ),
        pytest.param(
            "t.tsv",
            ["text\tlabel", '"Unbalanced\ta', "plain\tb", '" ends here"\ta'],
            {},
            [('"Unbalanced', "a"), ("plain", "b"), ('" ends here"', "a")],
            id="TSV as GLUE has it",
        ),
        pytest.param(
            "t.tsv",
            ["text\tlabel", '"a\tb ""q"""\ta', "x\tb"],
            {"quote": '"'},
            [('a\tb "q"', "a"), ("x", "b")],
            id="TSV with quotes",
        ),
        pytest.param(
            "t.tsv",
            ['"text"\t"label"', '"x"\t"a"', '"y"\t"b"'],
            {"quote": '"'},
            [("x", "a"), ("y", "b")],
            id="all in quotes",
        ),
    ],
)
def test_no_quote_swallows_a_row(pipelines, place, name, lines, settings, rows):
    place.write(name, "\n".join(lines).encode() + b"\n")
    pipeline, _ = texts(pipelines, f"{place.path}/{name}", *COLUMNS)

    assert settings_in(pipeline) == settings
    assert rows_of(pipeline) == rows


def test_what_only_the_end_of_a_table_shows_counts(pipelines, place):
    lines = [f"plain {number},{'ab'[number % 2]}" for number in range(5000)]
    place.write("t.csv", "\n".join(["text,label", *lines, '"Unbalanced,a', "café,b", 'ends",b', ""]).encode("cp1252"))
    pipeline, _ = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)

    assert settings_in(pipeline) == {"encoding": "cp1252", "quote": ""}
    assert rows_of(pipeline, 6000)[-3:] == [('"Unbalanced', "a"), ("café", "b"), ('ends"', "b")]


@pytest.mark.parametrize("size", [200_000, 2_000_000])
def test_cells_longer_than_the_part_that_is_looked_at_are_divided(pipelines, place, size):
    place.write("t.csv", "\n".join(["text;label", *("x" * size + f";{label}" for label in "ab")]).encode())
    pipeline, _ = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)
    assert settings_in(pipeline) == {"delimiter": ";"}


def test_columns_without_a_header_have_numbers_and_are_shown_with_a_cell(pipelines, place):
    place.write("t.csv", BODY.partition("\n")[2].encode())
    path = f"{place.path}/t.csv"

    assert_refused(
        pipelines,
        *("--modality", "text", "--source", "table", "--path", path),
        names=("'column_1' ('café 0')", "'column_2' ('a')", "--content"),
    )
    pipeline, said = texts(pipelines, path, "--content", "column_1", "--label", "column_2")

    assert settings_in(pipeline) == {"header": False}
    assert rows_of(pipeline) == ROWS
    assert "no header" in said


@pytest.mark.parametrize(
    ("lines", "has_header"),
    [
        (["text,label", "x,a", "y,b"], True),
        (["x,a", "y,b", "z,a"], False),
        (["5,0,0,17", "3,0,1,0"], False),
        (["0,1,2", "x,y,a", "x,z,b"], True),
        ([",text,label", "0,x,a", "1,y,b"], True),
        (["id,text,2024", "1,x,a", "2,y,b"], False),
    ],
    ids=["names", "a label that comes again", "numbers", "a range, as pandas writes it", "pandas' index", "a number"],
)
def test_a_header_is_known_by_its_cells(pipelines, place, lines, has_header):
    place.write("t.csv", "\n".join(lines).encode())
    ran = run_new_pipeline("flowers", "--modality", "text", "--source", "table", "--path", f"{place.path}/t.csv")
    assert ("'column_1'" not in ran.stderr) is has_header


def test_every_part_of_the_dialect_has_an_option(pipelines, place):
    place.write("t.csv", "1\t_a\\_b_\n2\t_c_\n".encode("utf-16-le"))
    options = ("--delimiter", "\\t", "--quote", "_", "--escape", "\\", "--encoding", "utf-16-le", "--no-header")
    pipeline, _ = texts(pipelines, f"{place.path}/t.csv", *options, "--content", "column_2", "--label", "column_1")

    assert rows_of(pipeline) == [("a_b", "1"), ("c", "2")]
    assert settings_in(pipeline) == {
        "delimiter": "\t",
        "quote": "_",
        "escape": "\\",
        "encoding": "utf-16-le",
        "header": False,
    }


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--delimiter", ";;"), ("--delimiter ';;'", "at most 1 character")),
        (("--encoding", "utf-99"), ("--encoding 'utf-99'", "cp1252")),
        (("--source", "folder", "--quote", ""), ("A folder has no columns", "--quote")),
    ],
    ids=["delimiter", "encoding", "folder"],
)
def test_an_option_that_is_not_possible_is_refused(pipelines, place, options, names):
    place.write("a/t.csv", BODY.encode())
    table_of = () if "folder" in options else ("--source", "table", *COLUMNS)
    assert_refused(pipelines, "--modality", "text", "--path", place.path, *table_of, *options, names=names)


def test_an_encoding_is_named_with_a_line_that_shows_whether_it_is_right(pipelines, place):
    place.write("t.csv", "text,label\nこの映画は面白い,a\n面白くない映画,b\n".encode("shift_jis"))
    pipeline, said = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)

    assert settings_in(pipeline) == {"encoding": "cp932"}
    assert "'この映画は面白い,a'" in said
    assert "--encoding" in said


def test_utf8_with_lines_of_another_encoding_is_refused_with_one_of_them(pipelines, place):
    lines = [f"café {n},{'ab'[n % 2]}".encode("cp1252" if n == 7 else "utf-8") for n in range(40)]
    place.write("t.csv", b"\n".join([b"text,label", *lines]))
    assert_refused(
        pipelines,
        *("--modality", "text", "--source", "table", "--path", f"{place.path}/t.csv"),
        *COLUMNS,
        names=("t.csv", "UTF-8", r"b'caf\xe9 7,b'", "--encoding"),
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_jsonl_may_have_a_mark_and_a_first_row_without_the_label(pipelines, place, encoding):
    lines = ['{"text": "none yet"}', *(f'{{"text": "café {n}", "label": "{"ab"[n % 2]}"}}' for n in range(40))]
    place.write("t.jsonl", "\n".join(lines).encode(encoding))
    pipeline, said = texts(pipelines, f"{place.path}/t.jsonl", *COLUMNS)

    assert rows_of(pipeline) == [("none yet", None), *ROWS]
    assert "1 row has no label" in said


@pytest.mark.parametrize("label", ["language", "kind"])
def test_folders_that_name_a_column_are_one(pipelines, place, label):
    for language in ("de", "fr"):
        rows = [{"words": f"{language} {number}", "kind": "ab"[number % 2]} for number in range(20)]
        place.write(f"language={language}/part-0.parquet", table("parquet", rows))
    pipeline, _ = texts(pipelines, place.path, "--content", "words", "--label", label)

    assert pipeline.training.labels == (("de", "fr") if label == "language" else ("a", "b"))
    assert pipeline.source.open().count() == 40


# Labels of other types ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_a_label_that_is_no_number_is_missing_and_whole_numbers_are_classes(pipelines, place, ending):
    rows = [{"text": f"word{n}", "label": [1.0, 2.0, float("nan")][n % 3]} for n in range(60)]
    place.write(f"t.{ending}", table(ending, rows))
    pipeline, said = texts(pipelines, f"{place.path}/t.{ending}", *COLUMNS)

    assert pipeline.training.labels == ("1", "2")
    assert "20 rows have no label" in said


def test_bytes_are_labels_and_ids_as_text(pipelines, place):
    rows = [{"text": f"word{n}", "label": [b"cat", b"dog"][n % 2], "id": b"k%d" % n} for n in range(40)]
    place.write("t.parquet", table("parquet", rows))
    pipeline, _ = texts(pipelines, f"{place.path}/t.parquet", *COLUMNS, "--id", "id")

    assert pipeline.training.labels == ("cat", "dog")
    first = pipeline.source.open().read(0, 1)[0]
    assert (first.id, first.label) == ("k0", "cat")


# Order and groups -----------------------------------------------------------------------------------------------------


def test_rows_that_are_sorted_by_class_are_noticed_with_what_to_do(pipelines, place, monkeypatch):
    rows = [{"text": f"word {n}", "label": "abc"[n // 20]} for n in range(60)]
    place.write("t.csv", table("csv", rows))
    _, said = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)
    assert "sorted by class; all of them come in the first batch" in said

    monkeypatch.setattr(table_survey, "MAX_FIRST_BATCH", 30)
    _, said = written_pipeline(
        pipelines, "--modality", "text", "--source", "table", "--path", f"{place.path}/t.csv", *COLUMNS, name="more"
    )
    for expected in (
        "sorted by class",
        "first 30 have only 2 of 3 classes ('c' come later)",
        "Shuffle",
        "records = 60",
    ):
        assert expected in said


def test_rows_in_no_order_are_not_called_sorted(pipelines, place):
    labels = np.random.default_rng(3).integers(0, 3, 60)
    place.write("t.csv", table("csv", [{"text": f"word {n}", "label": f"c{label}"} for n, label in enumerate(labels)]))
    _, said = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)
    assert "sorted" not in said
    assert "spread" not in said


def reviews(column, *, groups=40, of_each=6):
    return [
        {
            "text": f"word {n}",
            "label": "ab"[n * 7 // 5 % 2],
            column: f"g{n % groups}",
            "length": n % 17,
            "note": f"n{n}",
        }
        for n in range(groups * of_each)
    ]


@pytest.mark.parametrize("column", ["speaker", "patient_id", "userId", "client_id", "subjectnr"])
def test_a_column_of_groups_is_found_and_written(pipelines, place, column):
    place.write("t.csv", table("csv", reviews(column)))
    pipeline, said = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)

    assert (pipeline.source.group, pipeline.ingest.requests_by) == (column, "group")
    assert f"Column '{column}' looks like a group, with 40 values in 240 rows" in said
    assert any(is_request(f"g{number}", pipeline.ingest.requests_share) for number in range(40))


def test_a_group_may_be_named_or_refused(pipelines, place):
    place.write("t.csv", table("csv", reviews("speaker")))
    none, _ = texts(pipelines, f"{place.path}/t.csv", *COLUMNS, "--group", "")
    assert (none.source.group, none.ingest.requests_by) == (None, "id")

    arguments = ("--modality", "text", "--source", "table", "--path", f"{place.path}/t.csv", *COLUMNS)
    other, _ = written_pipeline(pipelines, *arguments, "--group", "length", name="other")
    assert other.source.group == "length"


def test_a_column_that_may_be_one_of_groups_is_left_to_the_person(pipelines, place):
    place.write("t.csv", table("csv", reviews("vp")))
    pipeline, said = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)

    assert pipeline.source.group is None
    assert "Column 'vp' has 40 values in 240 rows" in said
    assert '# group = "vp"' in (pipelines / "flowers.toml").read_text()


@pytest.mark.parametrize(
    ("column", "rows"),
    [
        ("speaker", [{"speaker": f"s{n}"} for n in range(60)]),
        ("speaker", [{"speaker": f"s{n % 5}"} for n in range(60)]),
        ("user_class", [{"user_class": f"{n % 2}", "text": "x"} for n in range(60)]),
        ("patient_age", [{"patient_age": f"{n % 12}.5"} for n in range(60)]),
    ],
    ids=["a value a row", "few values", "the class by another name", "measurements"],
)
def test_what_only_sounds_like_a_group_is_none(pipelines, place, column, rows):
    rows = [{"text": f"word {n}", "label": "ab"[n % 2], **row} for n, row in enumerate(rows)]
    place.write("t.csv", table("csv", rows))
    pipeline, said = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)

    assert pipeline.source.group is None
    assert f"'{column}'" not in said


def test_few_groups_are_drawn_by_a_share_that_takes_one(pipelines, place):
    names = [name for name in (f"g{number}" for number in range(200)) if not is_request(name, 0.2)][:12]
    rows = [{"text": f"word {n}", "label": "ab"[n // 12 % 2], "speaker": names[n % 12]} for n in range(120)]
    place.write("t.csv", table("csv", rows))
    pipeline, _ = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)

    share = pipeline.ingest.requests_share
    assert 0.2 < share <= 0.5
    assert any(is_request(name, share) for name in names)


# Numbers as pixels ----------------------------------------------------------------------------------------------------


def pixels(*shape, seed=1):
    return np.random.default_rng(seed).integers(0, 256, shape)


@pytest.mark.parametrize("header", [True, False])
def test_a_column_for_each_pixel_is_an_image(pipelines, place, header):
    images = pixels(20, 784)
    names = [f"pixel{number}" for number in range(784)]
    lines = [["label", *names], *([n % 2, *image] for n, image in enumerate(images.tolist()))]
    place.write("mnist.csv", "\n".join(",".join(map(str, line)) for line in lines[not header :]).encode())
    content, label = ("pixel*", "label") if header else ("column_*", "column_1")
    arguments = ("--source", "table", "--path", f"{place.path}/mnist.csv", "--content", content, "--label", label)
    pipeline, said = written_pipeline(pipelines, *arguments)

    samples = pipeline.source.open().read(0, 20)
    assert np.array_equal(np.stack([sample.content for sample in samples]).reshape(20, 784), images)
    assert (pipeline.format.shape, pipeline.format.dtype, pipeline.model.kind) == ((1, 28, 28), "uint8", "convnet")
    assert pipeline.format.to_inputs(np.full((1, 1, 28, 28), 255, np.uint8)).max() == pytest.approx(1)
    assert "28x28 pixels, gray" in said


@pytest.mark.parametrize("form", ["70 80 82", "[70 80 82]", "70,80,82"])
def test_all_pixels_in_a_cell_are_an_image(pipelines, place, form):
    signs = {"70 80 82": " ", "[70 80 82]": " ", "70,80,82": ","}[form]
    images = pixels(20, 64)
    cells = [form[0].strip("7") + signs.join(map(str, image)) + form[-1].strip("2") for image in images]
    place.write("t.csv", table("csv", [{"pixels": cell, "emotion": n % 2} for n, cell in enumerate(cells)]))
    arguments = ("--source", "table", "--path", f"{place.path}/t.csv", "--content", "pixels", "--label", "emotion")
    pipeline, _ = written_pipeline(pipelines, *arguments)

    samples = pipeline.source.open().read(0, 20)
    assert np.array_equal(np.stack([sample.content for sample in samples]).reshape(20, 64), images)


def test_texts_with_underscores_are_no_pixels(pipelines, place):
    place.write("t.csv", table("csv", [{"codes": " ".join(["1_0"] * 64), "emotion": n % 2} for n in range(20)]))
    arguments = ("--source", "table", "--path", f"{place.path}/t.csv", "--content", "codes", "--label", "emotion")

    assert_refused(pipelines, *arguments, names=("codes",))


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_order_of_colours_is_found_by_the_values(pipelines, place, channels_last):
    y, x = np.mgrid[0:8, 0:8]
    colours = [np.stack([20 * x + n, 10 * y + n, 250 - 15 * x - n], axis=-1) for n in range(20)]
    rows = [colour if channels_last else colour.transpose(2, 0, 1) for colour in colours]
    cells = [{"label": n % 2, **{f"p{i}": v for i, v in enumerate(row.ravel().tolist())}} for n, row in enumerate(rows)]
    place.write("t.csv", table("csv", cells))
    arguments = ("--source", "table", "--path", f"{place.path}/t.csv", "--content", "p*", "--label", "label")
    pipeline, said = written_pipeline(pipelines, *arguments)

    assert pipeline.format.channels_last is channels_last
    assert pipeline.format.input_shape == (3, 8, 8)
    assert "RGB" in said


@pytest.mark.parametrize(
    ("values", "dtype", "full"),
    [
        ([0, 255], "uint8", 255),
        ([0, 4095], "int32", 4095),
        ([0.0, 0.5, 1.0], "float32", 1),
        ([0, 255.5], "float32", 1023),
    ],
)
def test_numbers_of_any_range_become_inputs_up_to_one(pipelines, place, values, dtype, full):
    rows = [{"label": n % 2, **{f"p{i}": values[(i + n) % len(values)] for i in range(16)}} for n in range(20)]
    place.write("t.parquet", table("parquet", rows))
    arguments = ("--source", "table", "--path", f"{place.path}/t.parquet", "--content", "p*", "--label", "label")
    pipeline, _ = written_pipeline(pipelines, *arguments)

    assert (pipeline.format.dtype, pipeline.format.scale) == (dtype, pytest.approx(1 / full))


def test_numbers_that_are_no_square_are_refused(pipelines, place):
    rows = [{"label": n % 2, **{f"p{i}": i for i in range(18)}} for n in range(20)]
    place.write("t.csv", table("csv", rows))
    arguments = ("--source", "table", "--path", f"{place.path}/t.csv", "--content", "p*", "--label", "label")
    assert_refused(pipelines, *arguments, names=("18 numbers", "no square image", "--content"))


def numbered(label):
    return table("csv", [{"text": f"row {number}", "label": label(number)} for number in range(400)])


@pytest.mark.parametrize(
    ("label", "arguments", "said"),
    [
        pytest.param(lambda n: n / 7, (), "400 different numbers, 0 to 57", id="fractions"),
        pytest.param(lambda n: n * n, (), "400 different numbers, 0 to 159201", id="whole numbers, each of few rows"),
        pytest.param(lambda n: n % 40 + 18, (), "40 different numbers, 18 to 57", id="ages"),
        pytest.param(lambda n: n, (), "400 different numbers, 0 to 399", id="each once"),
        pytest.param(lambda n: "NA" if n % 50 == 7 else n / 7, (), "8 rows have no number as label ('NA'", id="NA"),
        pytest.param(lambda n: n % 3, ("--task", "regression"), "3 different numbers, 0 to 2", id="as asked for"),
    ],
)
def test_numbers_are_estimated(pipelines, place, label, arguments, said):
    place.write("t.csv", numbered(label))
    pipeline, output = texts(pipelines, f"{place.path}/t.csv", *COLUMNS, *arguments)

    assert (pipeline.training.task, pipeline.training.labels) == ("regression", ("label",))
    assert said in output
    target = pipeline.training.target()
    read = [target.read(sample.label) for sample in pipeline.source.open().read(0, 400) if sample.label != "NA"]
    assert all(isinstance(value, list) for value in read)


@pytest.mark.parametrize(
    ("label", "arguments"),
    [
        pytest.param(lambda n: n % 20, (), id="few numbers"),
        pytest.param(lambda n: n % 21 or "none of these", (), id="a name among them"),
        pytest.param(lambda n: n / 7, ("--task", "classification"), id="as asked for"),
    ],
)
def test_numbers_that_are_names_of_classes_are_no_regression(pipelines, place, label, arguments):
    place.write("t.csv", numbered(label))
    pipeline, _ = texts(pipelines, f"{place.path}/t.csv", *COLUMNS, *arguments)

    assert pipeline.training.task == "classification"


@pytest.mark.parametrize(
    ("label", "rows"),
    [
        pytest.param(lambda n: n % 25 * 10, 600, id="many rows of each"),
        pytest.param(lambda n: n % 43, 130, id="few rows of each, from 0 without a gap"),
        pytest.param(lambda n: n % 43 + 1, 130, id="from 1"),
    ],
)
def test_whole_numbers_that_are_codes_of_classes_are_classes_and_the_other_way_is_said(pipelines, place, label, rows):
    place.write("t.csv", table("csv", [{"text": f"row {n}", "label": label(n)} for n in range(rows)]))
    pipeline, output = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)

    assert set(pipeline.training.labels) == {str(label(n)) for n in range(rows)}
    assert " different whole numbers, which the file takes as names of classes: use --task regression" in output


@pytest.mark.parametrize("written", ["{},5", "1.{:03d},50", "{}%"])
@pytest.mark.parametrize("arguments", [(), ("--task", "regression")])
def test_labels_that_are_numbers_with_other_signs_are_refused(pipelines, place, written, arguments):
    place.write("t.csv", table("csv", [{"text": f"row {n}", "label": written.format(n)} for n in range(60)]))
    assert_refused(
        pipelines,
        *("--modality", "text", "--source", "table", "--path", f"{place.path}/t.csv"),
        *(*COLUMNS, *arguments),
        names=("'label'", written.format(0), "1234.5", "--task classification"),
    )


@pytest.mark.parametrize("lists", ["['a', 'b']", "['a' 'b']", "[\"it's\", 'b']"])
def test_lists_as_python_prints_them_are_refused(pipelines, place, lists):
    labels = [lists, "['b']", "[]"]
    place.write("t.csv", table("csv", [{"text": f"row {n}", "label": labels[n % 3]} for n in range(60)]))
    assert_refused(
        pipelines,
        *("--modality", "text", "--source", "table", "--path", f"{place.path}/t.csv"),
        *COLUMNS,
        names=("'label'", "Python", "json.dumps"),
    )


@pytest.mark.parametrize("sign", [",", ";", "|"])
def test_names_in_one_label_are_said(pipelines, place, sign):
    labels = [f"a{sign}b", "b", f"a{sign}c", "c"]
    place.write("t.jsonl", table("jsonl", [{"text": f"row {n}", "label": labels[n % 4]} for n in range(60)]))
    _, said = texts(pipelines, f"{place.path}/t.jsonl", *COLUMNS)

    assert f'task = "multi-label", separator = "{sign}" and labels = ["a", "b", "c"]' in said
    labels = [f"a{sign}b", f"c{sign}d"]
    place.write("t.jsonl", table("jsonl", [{"text": f"row {n}", "label": labels[n % 2]} for n in range(60)]))
    _, said = written_pipeline(
        pipelines,
        *("--modality", "text", "--source", "table", "--path", f"{place.path}/t.jsonl", *COLUMNS),
        name="places",
    )
    assert "several names" not in said


def test_a_class_that_stands_for_a_missing_label_is_said(pipelines, place):
    place.write("t.csv", table("csv", [{"text": f"row {n}", "label": ("yes", "no", "N/A")[n % 3]} for n in range(60)]))
    pipeline, said = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)

    assert pipeline.training.labels == ("N/A", "no", "yes")
    assert "'N/A', the label of 20 rows, is taken as a class" in said


def test_objects_as_labels_are_refused(pipelines, place):
    rows = [{"text": f"row {n}", "label": {"name": "ab"[n % 2]}} for n in range(60)]
    place.write("t.jsonl", table("jsonl", rows))
    assert_refused(
        pipelines,
        *("--modality", "text", "--source", "table", "--path", f"{place.path}/t.jsonl"),
        *COLUMNS,
        names=("'label'", "60 rows", "object of fields", "--label"),
    )


def test_a_regression_whose_first_batch_has_a_part_of_the_range_is_said(pipelines, place, monkeypatch):
    monkeypatch.setattr(table_survey, "MAX_FIRST_BATCH", 100)
    place.write("t.csv", table("csv", [{"text": f"row {n}", "label": n / 3} for n in range(250)]))
    _, output = texts(pipelines, f"{place.path}/t.csv", *COLUMNS)

    assert "The first 100 rows have numbers from 0 to 33 only" in output


def test_a_regression_without_numbers_is_refused(pipelines, place):
    place.write("t.csv", BODY.encode())
    assert_refused(
        pipelines,
        *("--modality", "text", "--source", "table", "--path", f"{place.path}/t.csv"),
        *(*COLUMNS, "--task", "regression"),
        names=("'label'", "0 different numbers", "'a'", "--label"),
    )
