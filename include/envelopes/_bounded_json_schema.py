"""Bounds of checking a value by a JSON Schema: its work is counted, and what can't be counted is refused.

A small schema can make the check of a small value take any time: a regular expression that backtracks, or parts that
refer to one another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from include.refusal import InvalidRecord

if TYPE_CHECKING:
    from referencing import Registry

# Some microseconds each.
MAX_STEPS = 500_000
MAX_SCHEMA_NODES = 20_000
STEP_CHARACTERS = 16
# Keywords with regular expressions, or that search the schema in a way that is not counted.
UNCOUNTED = ("pattern", "patternProperties", "unevaluatedItems", "unevaluatedProperties")
REFERRING = ("$ref", "$dynamicRef", "$recursiveRef", "$id", "id")


class JsonSchemaCheck:
    """The check by one schema.

    Args:
        schema: as parsed JSON.
        references: the schemas that it may refer to, by their names; none is fetched from anywhere else.
        trusted: whether a person has chosen the schema; its regular expressions are used then.

    Raises:
        InvalidRecord: `unsafe-schema`, the schema is too large.
    """

    def __init__(self, schema: Any, references: Registry[Any], *, trusted: bool) -> None:
        from jsonschema.validators import extend, validator_for

        # The schema itself is not checked by its own schema, a check that may take as long as any other.
        base = validator_for(schema)
        keywords = {name: self._counted(name, keyword) for name, keyword in base.VALIDATORS.items()}
        nodes = _prepare(schema) + sum(_prepare(references.contents(name)) for name in references)
        if nodes > MAX_SCHEMA_NODES:
            raise InvalidRecord(
                "unsafe-schema", f"The value's JSON Schema has {nodes} parts and the limit is {MAX_SCHEMA_NODES}."
            )
        self._validator = extend(base, keywords)(schema, registry=references)
        self._trusted = trusted
        self._steps = 0

    def require(self, fields: Any) -> None:
        """Refuse a value that is not valid by the schema.

        Raises:
            InvalidRecord: `unsafe-schema` or `too-complex`.
            ValueError: it is not valid.
            Exception: any, where the schema itself is not valid.
        """
        self._steps = 0
        for error in self._validator.iter_errors(fields):
            raise ValueError(error.message)

    def _counted(self, name: str, check: Any) -> Callable[..., Iterator[Any]]:
        def keyword(validator: Any, content: Any, instance: Any, schema: Any) -> Iterator[Any]:
            uncounted = name in UNCOUNTED or (name == "additionalProperties" and "patternProperties" in schema)
            if uncounted and not self._trusted:
                raise InvalidRecord(
                    "unsafe-schema",
                    f"The value's JSON Schema has {name!r}, whose check may take any time: list the schema in "
                    "envelope.schema_ids if you trust it.",
                )
            self._count(1 + _length(content) + _length(instance))
            if name == "uniqueItems":
                yield from self._unique(content, instance)
                return
            for error in check(validator, content, instance, schema) or ():
                self._count(len(error.message) // STEP_CHARACTERS)
                yield error

        return keyword

    def _unique(self, wanted: Any, items: Any) -> Iterator[Any]:
        """Compare texts of the items: comparing each with each takes a time that is quadratic in their number."""
        from jsonschema import ValidationError

        if not wanted or not isinstance(items, list):
            return
        texts = set()
        for item in items:
            text = json.dumps(item, sort_keys=True)
            self._count(len(text) // STEP_CHARACTERS)
            if text in texts:
                yield ValidationError("an item comes twice, and items must be unique")
                return
            texts.add(text)

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise InvalidRecord(
                "too-complex", f"The check of the value by its JSON Schema takes more than {MAX_STEPS} steps."
            )


def _prepare(schema: Any) -> int:
    """Count the parts of a schema, and remove the names of dialects, by which the library takes keywords of its own.

    Raises:
        InvalidRecord: `unsafe-schema`, it refers to the schema of a dialect, whose keywords are not counted either.
    """
    nodes, rest = 0, [schema]
    while rest:
        node = rest.pop()
        nodes += 1
        if isinstance(node, dict):
            if isinstance(node.get("$schema"), str):
                del node["$schema"]
            if any("json-schema.org" in str(node.get(name, "")) for name in REFERRING):
                raise InvalidRecord(
                    "unsafe-schema", "The value's JSON Schema refers to the schema of JSON Schema itself."
                )
            rest.extend(node.values())
        elif isinstance(node, list):
            rest.extend(node)
    return nodes


def _length(item: Any) -> int:
    return len(item) if isinstance(item, dict | list) else 0
