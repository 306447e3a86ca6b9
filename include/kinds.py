"""Discovery of kinds: a new codec, source or model is one new file, and no list has to be edited."""

import importlib
import pkgutil
from typing import Annotated, Any, TypeVar, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

# Stands for every kind that is the name of something to import.
IMPORTED = "module:name"


class Config(BaseModel):
    """The settings of one kind: immutable, and strict about keys, so that a misspelt key is an error."""

    # Each task imports all kinds and uses a few: what pydantic compiles from a class waits until it is first used.
    # TOML has inf and nan, which are no numbers of seconds or shares to compute with.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


ConfigType = TypeVar("ConfigType", bound=Config)


def find_kinds(package: str, base: type[ConfigType]) -> dict[str, type[ConfigType]]:
    """The subclasses of `base` in the modules of `package`, by the default of their `kind`; `_name.py` has none.

    Raises:
        ValueError: two of them have the same kind.
    """
    path = importlib.import_module(package).__path__
    kinds: dict[str, type[ConfigType]] = {}
    modules = [f"{package}.{module.name}" for module in pkgutil.iter_modules(path) if not module.name.startswith("_")]
    for module in modules:
        for value in vars(importlib.import_module(module)).values():
            if isinstance(value, type) and issubclass(value, base) and value.__module__ == module:
                field = value.model_fields.get("kind")
                if field is None or not isinstance(field.default, str):
                    continue  # a base class
                if field.default in kinds:
                    raise ValueError(
                        f"{kinds[field.default].__qualname__} and {value.__qualname__} share the kind "
                        f"{field.default!r}: give one of them another."
                    )
                kinds[field.default] = value
    return kinds


def one_of(kinds: dict[str, type[ConfigType]]) -> Any:
    """A type for pydantic that picks the class by the table's `kind` and names the allowed ones in its error.

    The class of `IMPORTED`, where there is one, takes every kind with a colon.
    """
    if IMPORTED in kinds:
        members = tuple(Annotated[kinds[kind], Tag(kind)] for kind in sorted(kinds))
        return Annotated[Union[members], Discriminator(_tag_of)]  # noqa: UP007 - made from a list
    classes = tuple(kinds[kind] for kind in sorted(kinds))
    if len(classes) == 1:
        return Annotated[classes[0], BeforeValidator(_name_kind)]
    return Annotated[Union[classes], Field(discriminator="kind")]  # noqa: UP007 - made from a list


def _tag_of(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return IMPORTED if isinstance(kind, str) and ":" in kind else kind


def _name_kind(value: Any) -> Any:
    """A table says its kind even where there is only one, or the next one would make it invalid."""
    if isinstance(value, dict) and "kind" not in value:
        raise PydanticCustomError("union_tag_not_found", "Field required")
    return value
