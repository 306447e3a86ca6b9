"""The bundled texts: of one language each, the same at every reading, and noticed when Airflow ships others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from include.sources.base import SourceChanged, SourceRefused
from include.sources.languages import LanguagesSource, Message, own_texts
from include.storage.state import PROJECT_ROOT
from tests.support.assertions import assert_readable

SOURCE = LanguagesSource()
SAMPLES = SOURCE.read(0, SOURCE.count())
TEXTS = [sample.content.decode() for sample in SAMPLES]
LANGUAGES = {sample.label for sample in SAMPLES}

Ships = Callable[..., LanguagesSource]


@pytest.fixture
def ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ships:
    """Installs an Airflow of any version that ships these files of messages: `{"de/common.json": {"key": "text"}}`."""

    def install(version: str, files: dict[str, object]) -> LanguagesSource:
        site = tmp_path / version
        for name, messages in files.items():
            path = site / LanguagesSource.place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(messages if isinstance(messages, str) else json.dumps(messages), encoding="utf-8")
        described = site / f"apache_airflow_core-{version}.dist-info"
        described.mkdir(parents=True)
        (described / "METADATA").write_text(f"Metadata-Version: 2.4\nName: apache-airflow-core\nVersion: {version}\n")
        monkeypatch.syspath_prepend(site)
        return LanguagesSource()

    return install


def read_all(source: LanguagesSource) -> dict[str, tuple[str, str | None]]:
    """Text and group of every id."""
    return {sample.id: (sample.content.decode(), sample.group) for sample in source.read(0, source.count())}


def test_there_are_hundreds_of_texts_in_each_of_21_languages():
    counts = Counter(sample.label for sample in SAMPLES)

    assert len(counts) == 21
    assert min(counts.values()) > 500
    assert len({sample.id for sample in SAMPLES}) == len(SAMPLES) == SOURCE.count()


def test_no_text_stands_for_two_languages_and_none_comes_twice():
    assert [text for text, times in Counter(map(str.casefold, TEXTS)).items() if times > 1] == []


def test_what_is_filled_in_later_is_no_part_of_a_text():
    assert [text for text in TEXTS if "{{" in text or "$t(" in text] == []


@pytest.mark.parametrize("number", [1000, 9000])
def test_every_batch_has_all_languages(number):
    for start in range(0, len(SAMPLES) - number, number):
        assert {sample.label for sample in SAMPLES[start : start + number]} == LANGUAGES


def test_positions_name_the_same_samples_whatever_is_read_around_them():
    assert SOURCE.read(100, 20) == [SOURCE.read(position, 1)[0] for position in range(100, 120)]
    assert SOURCE.read(len(SAMPLES) - 5, 10) == SAMPLES[-5:]
    assert SOURCE.read(len(SAMPLES), 10) == []


def test_translations_and_plural_forms_of_a_message_are_one_group(ships):
    source = ships(
        "9.1",
        {
            "de/dags.json": {
                "list": {"run_one": "{{count}} Lauf", "run_other": "{{count}} Läufe", "runs": "Läufe hier"}
            },
            "en/dags.json": {"list": {"run_one": "{{count}} run", "run_other": "{{count}}  runs"}},
        },
    )

    assert read_all(source) == {
        "de/dags.json/list/run_one": ("Lauf", "dags.json/list/run"),
        "de/dags.json/list/run_other": ("Läufe", "dags.json/list/run"),
        "de/dags.json/list/runs": ("Läufe hier", "dags.json/list/runs"),
        "en/dags.json/list/run_one": ("run", "dags.json/list/run"),
        "en/dags.json/list/run_other": ("runs", "dags.json/list/run"),
    }


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        pytest.param(["en Save", "de Sichern"], ["en Save", "de Sichern"], id="a translation"),
        pytest.param(["en Save", "de SAVE"], ["en Save"], id="a copy of the English text"),
        pytest.param(["de Pool", "en Pool", "fr pool"], ["en Pool"], id="a copy in several languages"),
        pytest.param(["en Save", "es Total", "pt total"], ["en Save"], id="a text of two languages"),
        pytest.param(["zh-CN 保存", "zh-TW 儲存"], ["zh-CN 保存", "zh-TW 儲存"], id="two scripts"),
        pytest.param(["de Sichern", "de sichern"], ["de Sichern"], id="the same text twice"),
    ],
)
def test_a_text_is_of_one_language_or_left_out(texts, kept):
    messages = [
        Message(language, f"{position}", text) for position, (language, text) in enumerate(map(str.split, texts))
    ]

    assert [f"{message.language} {message.text}" for message in own_texts(messages)] == kept


def test_what_has_no_two_letters_is_no_text(ships):
    assert list(read_all(ships("9.1", {"de/a.json": {"one": "+K", "two": "{{count}}", "three": "Ja"}}))) == [
        "de/a.json/three"
    ]


def test_another_version_with_the_same_texts_goes_on(ships):
    texts = {"de/a.json": {"one": "Eins", "two": "Zwei"}}
    sent = ships("9.1", texts).prefix(2)

    ships("9.2", texts).check_prefix(2, sent)


def test_another_version_with_other_texts_is_refused_with_both_versions_named(ships):
    sent = ships("9.1", {"de/a.json": {"one": "Eins", "two": "Zwei"}}).prefix(2)
    newer = ships("9.2", {"de/a.json": {"one": "Eins", "two": "Zwo"}})

    newer.check_prefix(0, {})
    with pytest.raises(SourceChanged) as refusal:
        newer.check_prefix(2, sent)
    assert_readable(refusal.value, 2, "9.1", "9.2")


def test_what_another_kind_of_source_sent_is_refused():
    with pytest.raises(SourceChanged) as refusal:
        SOURCE.check_prefix(7, {})
    assert_readable(refusal.value, 7)


@pytest.mark.parametrize("files", [{}, {"de/a.json": "{"}])
def test_an_installation_without_translations_is_refused(ships, files):
    with pytest.raises(SourceRefused) as refusal:
        ships("9.1", files).count()
    assert_readable(refusal.value, LanguagesSource.place)


def test_without_airflow_the_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(SourceRefused) as refusal:
        SOURCE.count()
    assert_readable(refusal.value, "apache-airflow-core")


def test_airflow_is_not_imported_for_its_texts():
    program = (
        "import sys; from include.sources.languages import LanguagesSource; print(LanguagesSource().count());"
        "sys.exit('airflow' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert int(ended.stdout) == len(SAMPLES)
