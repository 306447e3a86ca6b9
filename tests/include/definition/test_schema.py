"""An editor that follows the first line of a pipeline's file checks it as Millrace does, key by key."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from include.definition.files import PIPELINES, InvalidPipeline, read_pipeline
from include.definition.kinds import KINDS
from include.definition.schema import SCHEMA_FILE, pipeline_schema

SCHEMA = Draft202012Validator(json.loads(pipeline_schema()))
FILES = sorted(PIPELINES.glob("*.toml"))
DIGITS = (PIPELINES / "digits.toml").read_text(encoding="utf-8")


def errors(text: str) -> list[str]:
    return [error.message for error in SCHEMA.iter_errors(tomllib.loads(text))]


def test_the_committed_schema_is_that_of_the_code() -> None:
    committed = SCHEMA_FILE.read_text(encoding="utf-8")

    assert committed == pipeline_schema(), "run `millrace schema > include/pipelines/pipeline.schema.json`"


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA.schema)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_bundled_file_names_it_first_and_follows_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    directive, _, path = text.partition("\n")[0].partition(" ")

    assert directive == "#:schema"
    assert (file.parent / path).resolve() == SCHEMA_FILE
    assert errors(text) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("description =", "descriptions ="),
        ("partitions =", "partition ="),
        ("height =", "hieght ="),
        ('kind = "convnet"', 'kind = "convnet"\nchanels = [32]'),
        ('kind = "convnet"', 'kind = "covnet"'),
        ('kind = "convnet"', "channels = [32]"),
        ('kind = "digits"', ""),
        ("epochs = 10", "epochs = 0"),
        ("epochs = 10", 'epochs = "ten"'),
        ("requests_share = 0.1", "requests_share = 1.5"),
        ("[promotion]", "[promotions]"),
        ("description =", 'name = "digits"\ndescription ='),
    ],
)
def test_it_refuses_what_millrace_refuses(right: str, wrong: str, tmp_path: Path) -> None:
    assert right in DIGITS
    text = DIGITS.replace(right, wrong, 1)
    file = tmp_path / "digits.toml"
    file.write_text(text)

    assert isinstance(read_pipeline(file), InvalidPipeline)
    assert errors(text)


def test_a_network_of_the_users_own_has_any_keys() -> None:
    assert errors(DIGITS.replace('kind = "convnet"', 'kind = "my_package.nets:build"\nwidth = 3')) == []


def test_every_table_has_its_kinds_discriminated_by_a_constant() -> None:
    definitions: dict[str, Any] = SCHEMA.schema["$defs"]
    constants = {
        item["properties"]["kind"].get("const") for item in definitions.values() if "kind" in item.get("properties", {})
    }

    assert {kind for kinds in KINDS.values() for kind in kinds if ":" not in kind} <= constants
    assert all("kind" in item["required"] for item in definitions.values() if "kind" in item.get("properties", {}))


def test_keys_and_tables_are_described_by_the_docstrings() -> None:
    training = SCHEMA.schema["$defs"]["Training"]

    assert training["description"].startswith("How a model is trained")
    assert "Args:" not in training["description"]
    assert training["properties"]["labels"]["description"]
    # Two keys that share a line of the docstring.
    topics = SCHEMA.schema["$defs"]["TopicLayout"]["properties"]
    assert topics["samples"]["description"] == topics["requests"]["description"]
