"""Reading the pipelines' TOML files: each is a pipeline, or invalid with all of its faults."""

import os
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from include.definition.consistency import cross_table_faults
from include.definition.kinds import KINDS
from include.definition.pipeline import Pipeline
from include.errors import PermanentError
from include.kafka.environment import InvalidEnvironment, current_environment
from include.kinds import Config
from include.storage.state import PROJECT_ROOT

PIPELINES = PROJECT_ROOT / "include" / "pipelines"


class UnknownPipeline(PermanentError):
    """No valid pipeline has this name."""


@dataclass(frozen=True)
class InvalidPipeline:
    """A TOML file that is no pipeline, and its faults, one line each."""

    path: Path
    faults: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.path.name}:", *(f"  - {fault}" for fault in self.faults)])


def pipelines_folder() -> Path:
    """The folder of the TOML files: `MILLRACE_PIPELINES` or include/pipelines."""
    return Path(os.environ.get("MILLRACE_PIPELINES") or PIPELINES)


def load_pipeline(name: str) -> Pipeline:
    """The pipeline of that name.

    Raises:
        UnknownPipeline: there is no such file, or it is not valid.
    """
    path = pipelines_folder() / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in pipelines_folder().glob("*.toml"))) or "none"
        raise UnknownPipeline(f"Pipeline {name!r} is unknown: the files in {pipelines_folder()} define {known}.")
    loaded = read_pipeline(path)
    if isinstance(loaded, InvalidPipeline):
        raise UnknownPipeline(f"Pipeline {name!r} is not valid: {'; '.join(loaded.faults)}.")
    return loaded


def load_pipelines() -> tuple[list[Pipeline], list[InvalidPipeline]]:
    """The valid and the invalid TOML files of the folder, in order of name."""
    loaded = [read_pipeline(path) for path in sorted(pipelines_folder().glob("*.toml"))]
    return (
        [item for item in loaded if isinstance(item, Pipeline)],
        [item for item in loaded if isinstance(item, InvalidPipeline)],
    )


def read_pipeline(path: Path) -> Pipeline | InvalidPipeline:
    """One file. Faults are returned and not raised, so that an invalid file does not affect the others."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return InvalidPipeline(path, (f"not a TOML file: {error}",))
    except OSError as error:
        return InvalidPipeline(path, (f"cannot be read: {error.strerror}",))
    faults: list[str] = []
    if "name" in values:
        faults.append(f"name = {values['name']!r}: remove the key, the file's name is the name")
    if "environment" in values:
        faults.append(
            f"environment = {values['environment']!r}: remove the key, MILLRACE_ENVIRONMENT is the environment"
        )
    values["name"] = path.stem
    try:
        values["environment"] = current_environment()
    except InvalidEnvironment as error:
        return InvalidPipeline(path, (str(error),))
    invalid: set[str] = set()
    try:
        pipeline = Pipeline.model_validate(values)
    except ValidationError as error:
        faults += [_fault(item) for item in error.errors()]
        invalid = {str(item["loc"][0]) for item in error.errors()}
        pipeline = _valid_tables(values, invalid)
    faults += cross_table_faults(pipeline, invalid)
    return InvalidPipeline(path, tuple(faults)) if faults else pipeline


def _valid_tables(values: Mapping[str, Any], invalid: Collection[str]) -> Pipeline:
    """A pipeline without its invalid tables, for the checks that need none of those."""
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in Pipeline.model_fields.items() if name not in invalid
    }
    model = create_model("ValidTables", __base__=Config, **fields)
    tables = model.model_validate({name: value for name, value in values.items() if name in fields})
    return Pipeline.model_construct(tables.model_fields_set, **dict(tables))


def _fault(item: Any) -> str:
    """`training.epochs = 0: Input should be greater than or equal to 1`."""
    key, kinds = _key(item["loc"])
    if item["type"].startswith("union_tag"):
        kind = item.get("ctx", {}).get("tag")
        shown = ": Field required" if kind is None else f" = {kind!r}: no such kind"
        return f"{key}.kind{shown}; the kinds are {', '.join(sorted(kinds))}"
    whole_table = isinstance(item["input"], dict)
    shown = "" if whole_table or item["type"] == "missing" else f" = {item['input']!r}"
    if item["type"] == "extra_forbidden":
        return f"{key}{shown}: no such key; remove it or correct its spelling"
    return f"{key}{shown}: {item['msg'].removeprefix('Value error, ')}"


def _key(location: Sequence[str | int]) -> tuple[str, Mapping[str, Any]]:
    """A key as the file has it, without the kind that pydantic adds to a location; and the kinds of its table."""
    key: list[str] = []
    kinds: Mapping[str, Any] = {}
    for part in map(str, location):
        if part in kinds:
            kinds = {}
        else:
            kinds = KINDS.get(part, kinds)
            key.append(part)
    return ".".join(key), kinds
