"""The bundled table: real rows with numbers, categories and missing values, the same at every reading."""

from __future__ import annotations

import gzip
import json
from collections import Counter

import pytest

from include.definition.files import load_pipeline
from include.sources.base import SourceChanged, SourceRefused
from include.sources.passengers import PassengersSource
from tests.support.assertions import assert_readable

SOURCE = PassengersSource()
SAMPLES = SOURCE.read(0, SOURCE.count())


@pytest.fixture
def ships(tmp_path, monkeypatch):
    """Installs a scikit-learn of any version with this file of passengers, or with none."""

    def install(number, content):
        site = tmp_path / number
        if content is not None:
            (site / PassengersSource.place).parent.mkdir(parents=True)
            (site / PassengersSource.place).write_bytes(content)
        described = site / f"scikit_learn-{number}.dist-info"
        described.mkdir(parents=True)
        (described / "METADATA").write_text(f"Metadata-Version: 2.4\nName: scikit-learn\nVersion: {number}\n")
        monkeypatch.syspath_prepend(site)
        return PassengersSource()

    return install


def table(*rows):
    columns = ["pclass", "survived", "name", "sex", "age", "sibsp", "parch", "ticket", "fare", "embarked"]
    lines = [f"@attribute '{column}' string" for column in columns]
    return gzip.compress("\n".join([*lines, "@data", *rows, ""]).encode())


def test_there_are_1309_passengers_with_ids_of_their_own():
    assert SOURCE.count() == len(SAMPLES) == len({sample.id for sample in SAMPLES}) == 1309
    assert Counter(sample.label for sample in SAMPLES) == {"died": 809, "survived": 500}


def test_rows_are_what_the_pipeline_s_format_takes():
    decoded = load_pipeline("passengers").format.decode([sample.content for sample in SAMPLES])
    assert (len(decoded.positions), decoded.refusals) == (1309, {})


def test_a_value_that_is_not_known_is_left_out(ships):
    source = ships("9.1", table('3,1,"Abelseth, Miss. Karen","female",?,0,0,"348125",7.65,?'))
    (sample,) = source.read(0, 9)
    row = {"pclass": 3, "sibsp": 0, "parch": 0, "fare": 7.65, "sex": "female"}
    assert (json.loads(sample.content), sample.label, sample.group) == (row, "survived", "348125")


def test_columns_from_after_the_rescue_are_left_out():
    assert {column for sample in SAMPLES for column in json.loads(sample.content)} == {
        *("pclass", "age", "sibsp", "parch", "fare", "sex", "embarked")
    }


def test_every_batch_has_all_classes_although_the_table_is_sorted_by_class():
    for start in range(0, 1300, 100):
        assert {json.loads(sample.content)["pclass"] for sample in SAMPLES[start : start + 100]} == {1, 2, 3}


def test_positions_name_the_same_samples_whatever_is_read_around_them():
    assert SOURCE.read(100, 20) == [SOURCE.read(position, 1)[0] for position in range(100, 120)]
    assert SOURCE.read(1305, 10) == SAMPLES[1305:]


def test_another_version_with_other_passengers_is_refused_with_both_versions_named(ships):
    sent = SOURCE.prefix(1)
    SOURCE.check_prefix(1, sent)
    newer = ships("9.2", table('3,1,"A","female",1,0,0,"1",7.65,"S"'))
    newer.check_prefix(0, {})
    with pytest.raises(SourceChanged) as refused:
        newer.check_prefix(1, sent)
    assert_readable(refused.value, 1, "9.2", sent["version"])


def test_what_another_kind_of_source_sent_is_refused():
    with pytest.raises(SourceChanged) as refused:
        SOURCE.check_prefix(7, {})
    assert_readable(refused.value, 7)


@pytest.mark.parametrize(
    "content",
    [None, b"no gzip", gzip.compress(b"@data\n1,2\n"), gzip.compress(b"no table")],
    ids=["absent", "no-gzip", "two-columns", "no-table"],
)
def test_a_scikit_learn_without_the_table_is_refused(ships, content):
    with pytest.raises(SourceRefused) as refused:
        ships("9.3", content).count()
    assert_readable(refused.value, "9.3", "requirements.txt")
