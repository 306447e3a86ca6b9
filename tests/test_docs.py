"""The figures, reason codes and settings in the docs are those of the last measurement and of the code."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from include.definition.files import read_pipeline
from include.definition.kinds import KINDS
from include.definition.pipeline import Pipeline
from include.definition.schema import pipeline_schema
from include.kinds import IMPORTED
from include.refusal import REASONS
from include.storage.state import PROJECT_ROOT
from tests.faults.rows import BEGIN, END, markdown

PAGE = (PROJECT_ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
SETTINGS = (PROJECT_ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", SETTINGS, re.MULTILINE | re.DOTALL)

SCHEMA = Draft202012Validator(json.loads(pipeline_schema()))

# The tables that an example leaves out.
REST = {
    "format": {"kind": "image.png", "height": 64, "width": 64},
    "source": {"kind": "folder", "path": "pictures"},
    "model": {"kind": "convnet"},
    "training": {"labels": ["cat", "dog"]},
}


def test_the_page_shows_the_figures_of_the_last_whole_run() -> None:
    figures = json.loads((PROJECT_ROOT / "docs" / "faults.json").read_text(encoding="utf-8"))

    shown = PAGE.split(BEGIN)[1].split(END)[0].strip()
    assert shown == markdown(figures)
    assert len(figures) > 20
    assert all(row["times"] > 0 and row["lost"] == 0 for row in figures)
    assert [row["fault"] for row in figures if row["duplicated"] > 0] == [
        row["fault"] for row in figures if row["fault"].startswith("control")
    ]


def test_the_page_s_tables_of_reasons_are_those_of_the_code() -> None:
    tables = re.findall(r"^\| reason \|.*\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)

    rows = [re.fullmatch(r"\| `([^`]+)` \| (.+) \|", row) for table in tables for row in table.splitlines()]
    assert [row and row.groups() for row in rows] == list(REASONS.items())


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_of_the_settings_is_a_valid_pipeline(example: str, tmp_path: Path) -> None:
    rest: dict[str, Any] = dict(REST)
    if "samples" in tomllib.loads(example).get("topics", {}):
        del rest["source"]
    added = [
        f"[{table}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
        for table, settings in rest.items()
        if table not in tomllib.loads(example)
    ]
    file = tmp_path / "example.toml"
    described = [] if "description" in tomllib.loads(example) else ['description = "Cat or dog?"']
    file.write_text("\n".join([*described, example, *added]))

    loaded = read_pipeline(file)

    assert isinstance(loaded, Pipeline), loaded
    assert [error.message for error in SCHEMA.iter_errors(tomllib.loads(file.read_text()))] == []


def test_an_example_with_a_description_is_valid_as_it_is_copied(tmp_path: Path) -> None:
    whole = [example for example in EXAMPLES if "description" in tomllib.loads(example)]
    assert whole
    for number, example in enumerate(whole):
        file = tmp_path / f"example_{number}.toml"
        file.write_text(example)
        assert isinstance(loaded := read_pipeline(file), Pipeline), loaded


@pytest.mark.parametrize("table", ["augment", "envelope", "format", "model", "source"])
def test_the_settings_name_every_kind(table: str) -> None:
    assert [kind for kind in KINDS[table] if kind not in (IMPORTED, "millrace") and f"`{kind}`" not in SETTINGS] == []
