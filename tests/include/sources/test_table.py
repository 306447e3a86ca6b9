"""Tables in CSV, JSONL and Parquet: the same rows give the same samples, whatever file they are in."""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import tracemalloc
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from pydantic import ValidationError

from include.sources import table as tables
from include.sources.base import SourceChanged, SourceRefused, fingerprint
from include.sources.folder import FolderSource
from include.sources.table import TableSource
from tests.support.assertions import assert_readable
from tests.support.folders import LocalFolder
from tests.support.tables import ENDINGS, table

SENTENCES = [
    {"key": f"s{number}", "language": ("de", "en", "fr")[number % 3], "text": text, "translator": f"t{number % 2}"}
    for number, text in enumerate(
        ["Guten Tag", 'He said, "hello"', "Ça va, l'été?", "Zwei\nZeilen", "a;b\tc", "œuvre", "Ende", "end", "fin", "x"]
    )
]
COLUMNS = {"content": "text", "label": "language"}


@pytest.fixture(params=ENDINGS)
def ending(request):
    return request.param


@pytest.fixture
def write(place, ending):
    """Puts rows into a file of the folder, and names it."""

    def write(rows, name="sentences", second=0):
        place.write(f"{name}.{ending}", table(ending, rows), second=second)
        return f"{place.path}/{name}.{ending}"

    return write


def source(path, **settings):
    return TableSource(**{"path": path, **COLUMNS, **settings})


def ids(samples):
    return [sample.id for sample in samples]


def test_a_row_is_a_sample(write):
    samples = source(write(SENTENCES), id="key", group="translator").read(0, 100)

    assert [(s.id, s.content.decode(), s.label, s.group, s.fault) for s in samples] == [
        (row["key"], row["text"], row["language"], row["translator"], None) for row in SENTENCES
    ]


def test_without_an_id_a_row_is_known_by_its_number(write, ending):
    samples = source(write(SENTENCES)).read(0, 2)

    assert ids(samples) == [f"sentences.{ending}:1", f"sentences.{ending}:2"]
    assert samples[0].group is None


def test_a_table_is_counted(write):
    assert source(write(SENTENCES)).count() == 10


@pytest.mark.parametrize("start", range(11))
def test_a_table_can_be_read_from_any_position(write, start):
    path = write(SENTENCES)
    whole = source(path, id="key").read(0, 100)
    reading = source(path, id="key")

    assert ids(reading.read(start, 2)) == ids(whole[start : start + 2])
    assert ids(reading.read(start + 2, 3)) == ids(whole[start + 2 : start + 5]), "reading on"
    assert ids(reading.read(start, 2)) == ids(whole[start : start + 2]), "reading back"


def test_a_filesystem_can_be_handed_in(write):
    filesystem, root = fsspec.url_to_fs(write(SENTENCES))

    for handed in (filesystem, AsyncFileSystemWrapper(filesystem, asynchronous=False)):
        opened = source(root, id="key").on(handed)
        assert (opened.count(), ids(opened.read(8, 9))) == (10, ["s8", "s9"])


def test_all_formats_have_the_same_fingerprint(place):
    prints = set()
    for ending in ENDINGS:
        place.write(f"t.{ending}", table(ending, SENTENCES))
        prints.add(fingerprint(source(f"{place.path}/t.{ending}", id="key", group="translator").read(0, 100)))

    assert len(prints) == 1


def test_a_folder_s_tables_follow_each_other_as_they_came(place, write):
    write(SENTENCES[:3], "z", second=1)
    write(SENTENCES[3:4], "a", second=2)
    write(SENTENCES[4:], "more/b", second=3)
    folder = source(place.path, id="key")

    assert folder.count() == 10
    assert ids(folder.read(0, 100)) == [row["key"] for row in SENTENCES]
    for start in range(10):
        assert ids(source(place.path, id="key").read(start, 2)) == [row["key"] for row in SENTENCES[start : start + 2]]


def test_what_is_read_at_once_is_bounded(write, monkeypatch):
    monkeypatch.setattr("include.sources.base.READ_BYTES", 20)
    reading = source(write(SENTENCES), id="key")
    parts = []
    while samples := reading.read(sum(map(len, parts)), 100):
        parts.append(samples)

    assert [sample.id for part in parts for sample in part] == [row["key"] for row in SENTENCES]
    assert [len(part) for part in parts] == [2, 2, 5, 1]


def test_a_table_that_changed_lately_does_not_count_yet(place, ending):
    import time

    from tests.support.folders import DAY

    place.write(f"t.{ending}", table(ending, SENTENCES), second=time.time() - DAY)

    assert source(place.path).count() == 0
    assert source(place.path, settle_s=0).count() == 10


@pytest.mark.parametrize("identified", [{"id": "key"}, {}], ids=["with ids", "without"])
class TestGrowth:
    """Four of ten rows were sent."""

    @pytest.fixture
    def check(self, write, identified):
        path = write(SENTENCES)
        prefix = source(path, **identified).prefix(4)

        def check(rows):
            write(rows, second=10)
            source(path, **identified).check_prefix(4, prefix)

        return check

    def test_rows_at_the_end_are_welcome(self, check):
        check(SENTENCES + SENTENCES)

    def test_rows_that_were_not_sent_may_change(self, check):
        check(SENTENCES[:4])

    @pytest.mark.parametrize(
        "rows",
        [
            [SENTENCES[9], *SENTENCES],
            SENTENCES[1:],
            [SENTENCES[1], SENTENCES[0], *SENTENCES[2:]],
            [{**SENTENCES[0], "language": "en"}, *SENTENCES[1:]],
            SENTENCES[:3],
        ],
        ids=["one before", "one gone", "swapped", "another label", "cut"],
    )
    def test_other_rows_than_were_sent_are_refused(self, check, rows):
        with pytest.raises(SourceChanged) as refusal:
            check(rows)

        assert_readable(refusal.value, "first 4 rows", "sentences")

    def test_hashing_on_is_as_hashing_anew(self, write, identified):
        path = write(SENTENCES)
        one = source(path, **identified)
        steps = [one.prefix(position) for position in (0, 3, 3, 7, 10, 2)]

        assert steps == [source(path, **identified).prefix(position) for position in (0, 3, 3, 7, 10, 2)]


def test_contents_that_change_without_an_id_are_refused(write):
    path = write(SENTENCES)
    prefix = source(path).prefix(4)
    write([{**SENTENCES[0], "text": "Guten Abend"}, *SENTENCES[1:]], second=10)

    with pytest.raises(SourceChanged):
        source(path).check_prefix(4, prefix)


def test_a_new_part_that_comes_last_is_welcome(place, write):
    write(SENTENCES[:5], "b", second=1)
    prefix = source(place.path).prefix(5)
    write(SENTENCES[5:], "a", second=2)

    source(place.path).check_prefix(5, prefix)


def test_a_table_can_not_go_on_where_another_source_ended(place, write):
    path = write(SENTENCES)

    with pytest.raises(SourceChanged) as refusal:
        source(path).check_prefix(4, FolderSource(path=place.path).prefix(1))

    assert_readable(refusal.value, "first 4 samples", "[source]")


def test_base64_is_of_what_is_in_the_format_already(write):
    rows = [{"text": base64.b64encode(bytes([number, 255])).decode(), "language": str(number)} for number in range(3)]

    assert [s.content for s in source(write(rows), content_is="base64").read(0, 9)] == [b"\0\xff", b"\1\xff", b"\2\xff"]


def test_numbers_become_arrays(write):
    rows = [{"text": [[1, 2], [3, 4]], "language": "a"}, {"text": [[5, 6], [7, 8]], "language": "b"}]
    samples = source(write(rows), content_is="numbers", shape=(4,), dtype="uint8").read(0, 9)

    assert [s.content.tolist() for s in samples] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert samples[0].content.dtype == np.uint8


@pytest.mark.parametrize("value", [b"\xff\0", {"bytes": b"\xff\0", "path": None}], ids=["binary", "struct"])
def test_parquet_holds_bytes(place, value):
    place.write("t.parquet", table("parquet", [{"text": value, "language": "a"}]))

    assert source(f"{place.path}/t.parquet", content_is="bytes").read(0, 1)[0].content == b"\xff\0"


def test_a_path_is_of_a_file_beside_the_table(place, write):
    place.write("pictures/1.jpg", b"one")
    place.write("2.jpg", b"two")
    rows = [{"text": "pictures/1.jpg", "language": "a"}, {"text": "./pictures/../2.jpg", "language": "b"}]

    assert [s.content for s in source(write(rows), content_is="path").read(0, 9)] == [b"one", b"two"]


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/passwd", "a/../../secret.txt", "file:///etc/passwd", "..", "nul\0", "a\\..\\..\\x"]
)
def test_a_path_that_leads_out_of_the_folder_is_refused(place, name):
    place.write("secret.txt")
    place.write("inner/t.jsonl", table("jsonl", [{"text": name, "language": "a"}]))

    with pytest.raises(SourceRefused) as refusal:
        source(f"{place.path}/inner", content_is="path").read(0, 1)

    assert_readable(refusal.value, "Row 1", "t.jsonl", repr(name))


@pytest.mark.parametrize("name", ["pictures/none.jpg", ".", "", "there.jpg/x", "pictures\\none.jpg"])
def test_a_file_that_is_not_there_is_left_out_and_the_others_are_read(place, name):
    place.write("there.jpg", b"one")
    rows = [{"text": name, "language": "a"}, {"text": "there.jpg", "language": "b"}]
    place.write("t.jsonl", table("jsonl", rows))

    missing, there = source(f"{place.path}/t.jsonl", content_is="path").read(0, 9)

    assert_readable(ValueError(missing.fault), repr(name) if name else "no file")
    assert there.content == b"one"


@pytest.mark.parametrize("name", ["clips/1.wav", "clips\\1.wav"])
def test_names_may_be_relative_to_another_folder(place, name):
    place.write("audio/clips/1.wav", b"one")
    place.write("meta/t.jsonl", table("jsonl", [{"text": name, "language": "a"}]))

    reading = source(f"{place.path}/meta", content_is="path", folder=f"{place.path}/audio")

    assert reading.read(0, 1)[0].content == b"one"


def test_a_file_larger_than_any_topic_takes_is_left_out(place, write, monkeypatch):
    monkeypatch.setattr(tables, "MAX_SAMPLE_BYTES", 2)
    place.write("1.jpg", b"one")

    sample = source(write([{"text": "1.jpg", "language": "a"}]), content_is="path").read(0, 1)[0]

    assert_readable(ValueError(sample.fault), "1.jpg", "2 bytes")


@pytest.mark.parametrize(
    ("content_is", "cell", "expected"),
    [
        ("text", 7, "type int"),
        ("text", None, "nothing"),
        ("text", "\ud800", "surrogate"),
        ("base64", "AA=A", "base64"),
        ("base64", "QUJD\n", "base64"),
        ("base64", ["QUJD"], "type list"),
        ("bytes", "text", "type str"),
        ("numbers", "soup", "no list"),
        ("numbers", None, "no list"),
        ("numbers", 3, "no list"),
        ("numbers", ["1", "2", "3", "4"], "no list"),
        ("numbers", [1, 2, 3], "3 numbers"),
        ("numbers", [[1, 2], [3]], "no list"),
        ("numbers", [1, 2, 3, 256], "no uint8"),
        ("numbers", [1, 2, 3, -1], "no uint8"),
        ("numbers", [1, 2, 3, 0.5], "no uint8"),
        ("numbers", [1, 2, 3, float("nan")], "NaN"),
        ("numbers", [1, 2, 3, 10**400], "no"),
        ("numbers", "[" * 100_000, "no list"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_cell_that_holds_something_else_is_left_out_with_the_reason(place, content_is, cell, expected):
    place.write("t.jsonl", table("jsonl", [{"text": cell, "language": "a"}, {"text": "", "language": "b"}]))
    settings = {"shape": (4,), "dtype": "uint8"} if content_is == "numbers" else {}

    sample = source(f"{place.path}/t.jsonl", content_is=content_is, **settings).read(0, 1)[0]

    assert (sample.id, sample.content, sample.label) == ("t.jsonl:1", b"", "a")
    assert_readable(ValueError(sample.fault), expected)


def test_an_empty_label_is_none(write):
    rows = [{"text": "x", "language": ""}, {"text": "y", "language": "a"}]

    assert [s.label for s in source(write(rows)).read(0, 9)] == [None, "a"]


@pytest.mark.parametrize("role", ["content", "label", "id", "group"])
def test_a_column_that_is_not_there_is_refused(write, role):
    with pytest.raises(SourceRefused) as refusal:
        source(write(SENTENCES), **{role: "sentence"}).count()

    assert_readable(refusal.value, "sentences", "'sentence'", "'translator'", "[source]")


def test_a_column_that_is_there_twice_is_refused(place):
    place.write("t.csv", b"text,language,language\nx,a,b\n")

    with pytest.raises(SourceRefused) as refusal:
        source(place.path).count()

    assert_readable(refusal.value, "t.csv", "more than one", "'language'")


def test_one_label_alone_is_refused(write):
    with pytest.raises(SourceRefused) as refusal:
        source(write([row for row in SENTENCES if row["language"] == "de"])).count()

    assert_readable(refusal.value, "sentences", "'de'", "'language'")


def test_an_unlabelled_table_is_none_the_worse(write):
    unlabelled = source(write(SENTENCES), label=None)

    assert unlabelled.count() == 10
    assert {sample.label for sample in unlabelled.read(0, 10)} == {None}


@pytest.mark.parametrize("content", [b"text,language\n", b"text,language"])
def test_a_table_without_rows_is_refused(place, content):
    place.write("t.csv", content)

    with pytest.raises(SourceRefused) as refusal:
        source(place.path).count()

    assert_readable(refusal.value, place.path, "no rows")


def test_a_row_without_its_id_is_refused(write):
    path = write([{"text": "x", "language": "a", "key": ""}])

    with pytest.raises(SourceRefused) as refusal:
        source(path, id="key").read(0, 1)

    assert_readable(refusal.value, "Row 1", "sentences", "'key'")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.csv", b"text,language\nx,a\ny\n", ["Line 3", "1 cells", "t.csv"]),
        ("t.csv", b"text,language\nx,a,b\n", ["Line 2", "3 cells", "t.csv"]),
        ("t.csv", b'text,language\n"x,a\n', ["Line 2", "t.csv"]),
        ("t.csv", b'text,language\n"x"y,a\n', ["Line 2", "t.csv"]),
        ("t.csv", "text,language\nÄ,a\n".encode("latin-1"), ["t.csv", "UTF-8"]),
        ("t.csv", b"", ["t.csv", "'text'", "none"]),
        ("t.jsonl", b'{"text": "x", "language": "a"}\n{"text": \n', ["Row 2", "t.jsonl"]),
        ("t.jsonl", b'["x", "a"]\n', ["Row 1", "t.jsonl", "no object"]),
        ("t.jsonl", b'[{"text": "x", "language": "a"}]', ["t.jsonl", "in one list", "jq -c '.[]' t.jsonl"]),
        ("t.jsonl", b'[\n{"text": "x", "language": "a"}\n]', ["t.jsonl", "several lines", "jq -c '.[]' t.jsonl"]),
        ("t.jsonl", b'{\n "text": "x",\n "language": "a"\n}', ["t.jsonl", "several lines", "jq -c . t.jsonl"]),
        ("t.jsonl", b'{"text": "x", "language": "a", "text": "y"}\n', ["Row 1", "t.jsonl", "a key twice"]),
        ("t.csv", b"PK\x03\x04\x14\x00text,language\nx,a\n", ["t.csv", "ZIP", "Excel"]),
        ("t.csv", bz2.compress(b"text,language\nx,a\n"), ["t.csv", "bzip2"]),
        ("t.jsonl", lzma.compress(b'{"text": "x", "language": "a"}\n'), ["t.jsonl", "xz"]),
        ("t.csv", table("parquet", SENTENCES), ["t.csv", "Parquet", ".parquet"]),
        ("t.jsonl", b'{"text": "\xff"}\n', ["t.jsonl", "UTF-8"]),
        ("t.jsonl", b"[" * 100_000, ["Row 1", "t.jsonl"]),
        ("t.parquet", b"PAR1 and so on", ["t.parquet", "Parquet"]),
        ("t.parquet", table("parquet", SENTENCES)[:-20], ["t.parquet", "Parquet"]),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(place, name, content, expected):
    place.write(name, content)

    with pytest.raises(SourceRefused) as refusal:
        source(place.path).read(0, 10)

    assert_readable(refusal.value, *expected)


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_refused_or_gives_samples_and_nothing_else(tmp_path, ending, seed):
    chance = np.random.default_rng(seed)
    damaged = bytearray(table(ending, SENTENCES))
    for place in chance.integers(len(damaged), size=seed % 4 + 1):
        damaged[place] = chance.integers(256)
    (tmp_path / f"t.{ending}").write_bytes(damaged)
    reading = source(str(tmp_path), id="key", settle_s=0)

    try:
        reading.count()
        assert len(reading.read(0, 100)) <= 11
    except SourceRefused as refusal:
        assert_readable(refusal)


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("t.csv", b"\xef\xbb\xbftext;language\r\nx;a\r\n\r\ny;b\r\n", {"delimiter": ";"}),
        ("t.tsv", b"text\tlanguage\nx\ta\ny\tb", {}),
        ("T.CSV", b"text,language\nx,a\ny,b", {}),
        ("t.ndjson", b'\n{"text": "x", "language": "a"}\r\n\n{"text": "y", "language": "b", "more": 1}', {}),
    ],
)
def test_dialects(place, name, content, settings):
    place.write(name, content)
    dialect = source(place.path, **settings)

    assert dialect.count() == 2
    assert [(s.id, s.content, s.label) for s in dialect.read(0, 9)] == [
        (f"{name}:1", b"x", "a"),
        (f"{name}:2", b"y", "b"),
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"content_is": "numbers"}, "shape"),
        ({"shape": (4,)}, "numbers"),
        ({"suffixes": (".xlsx",)}, "xlsx"),
        ({"delimiter": ";;"}, "at most 1 character"),
        ({"content": None}, "valid string"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_file_is_parsed(settings, expected):
    with pytest.raises(ValidationError, match=expected):
        source("x", **settings)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_no_table_is_held_as_a_whole(tmp_path: Path, ending):
    """Twenty megabytes of rows; counting, hashing and reading some of them take two."""
    place = LocalFolder(tmp_path)
    cell = "x" * 10_000
    if ending == "parquet":
        rows = pa.table({"text": [cell] * 100, "language": ["a", "b"] * 50})
        (tmp_path / "t.parquet").touch()
        with pa.parquet.ParquetWriter(tmp_path / "t.parquet", rows.schema, use_dictionary=False) as writer:
            for _ in range(20):
                writer.write_table(rows)
    else:
        line = (
            f"{cell},a\n{cell},b\n"
            if ending == "csv"
            else "".join(json.dumps({"text": cell, "language": label}) + "\n" for label in "ab")
        )
        place.write(f"t.{ending}", ("text,language\n" * (ending == "csv") + line * 1000).encode())
    arrow_before = pa.default_memory_pool().max_memory()
    tracemalloc.start()
    try:
        opened = source(place.path, settle_s=0)
        assert opened.count() == 2000
        opened.prefix(2000)
        assert len(opened.read(1900, 20)) == 20
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 6_000_000
    assert pa.default_memory_pool().max_memory() - arrow_before < 10_000_000
