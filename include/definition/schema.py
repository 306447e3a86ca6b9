"""The JSON Schema of a pipeline's file, from which an editor completes and checks it."""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from include.definition.files import PIPELINES
from include.definition.pipeline import Pipeline

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import core_schema

SCHEMA_FILE = PIPELINES / "pipeline.schema.json"
ARGS = re.compile(r"^Args:\n(.*?)(?:\n\n|\Z)", re.DOTALL | re.MULTILINE)
ARGUMENT = re.compile(r"^ {4}(\w[\w, ]*): (.*?)(?=^ {4}\w|\Z)", re.DOTALL | re.MULTILINE)


def pipeline_schema() -> str:
    """JSON Schema (draft 2020-12) as indented JSON text.

    It checks keys, kinds, types and limits. What depends on several keys only `read_pipeline` checks.
    """
    schema = Pipeline.model_json_schema(schema_generator=_FileSchema)
    # The file's name is the pipeline's name, and the environment is a variable: neither is a key.
    del schema["properties"]["name"], schema["properties"]["environment"]
    schema["required"].remove("name")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A Millrace pipeline"}
    return json.dumps({**schema, **head}, indent=2, ensure_ascii=False) + "\n"


class _FileSchema(GenerateJsonSchema):
    """Describes keys by the `Args:` of the docstrings, and requires `kind`, by which pydantic picks a table's class."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        # TOML has no null: a key that may be None is left out of the file.
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        with_default = super().default_schema(schema)
        if with_default.get("default", ...) is None:
            del with_default["default"]
        return with_default

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        model: type[BaseModel] = schema["cls"]
        described = super().model_schema(schema)
        text = inspect.getdoc(model) if "__doc__" in vars(model) else None
        described.pop("description", None)
        if text:
            described["description"] = ARGS.sub("", text).strip()
        properties = described.get("properties", {})
        for key, sentence in _arguments(model).items():
            if key in properties:
                properties[key]["description"] = sentence
        if "kind" in properties and "kind" not in described.get("required", []):
            described["required"] = ["kind", *described.get("required", [])]
        return described


def _arguments(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each key, a class's own words before those of its bases."""
    found: dict[str, str] = {}
    for cls in model.__mro__:
        section = ARGS.search(inspect.cleandoc(vars(cls).get("__doc__") or ""))
        for names, text in ARGUMENT.findall(section[1]) if section else []:
            for name in names.split(", "):
                found.setdefault(name, " ".join(text.split()))
    return found
