"""Bounds of reading Avro: by some schemas a few bytes stand for any number of values, and a record names its schema.

A schema is refused if repeated items may have more than `FREE_VALUES` values for each of their bytes. By any other one,
a value of `LARGE_BYTES` stays within `MAX_MEMORY_BYTES`, and what a larger one takes is computed before it is read.
"""

from collections.abc import Callable
from typing import Any

from include.refusal import InvalidRecord

FREE_VALUES = 8
# A whole record has at most this many values that take no bytes, such as the records within it.
MAX_FREE_VALUES = 10_000
LARGE_BYTES = 128 * 1024
MAX_MEMORY_BYTES = 512 * 1024 * 1024
DECIMAL_BYTES = 1024

LEAST_BYTES = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
    "enum": 1,
}
# What Python takes for a value, in bytes; for a text without its characters.
MEMORY = {"record": 240, "error": 240, "map": 240, "array": 64, "bytes": 64, "string": 64, "fixed": 64, "enum": 64}
PLAIN_MEMORY = 32


class AvroBounds:
    """The bounds of reading values of one parsed schema.

    Attributes:
        recursive: the types that contain themselves, as a linked list or a tree does.

    Raises:
        InvalidRecord: `unsafe-schema`, by this schema few bytes can become many values.
    """

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._types: dict[str, Any] = {}
        # By how many the values of a type may exceed `FREE_VALUES` for each of its bytes, in the worst branches of
        # unions. Within itself, a type counts as 1.
        self._excess: dict[str, int] = {}
        self.recursive: set[str] = set()
        self._items: list[Any] = []
        if self._excess_of(schema) > MAX_FREE_VALUES:
            raise _unsafe(f"it has more than {MAX_FREE_VALUES} values that take no bytes")
        for name in self.recursive:
            if self._excess[name] > 1:
                raise _unsafe(f"{name!r:.100} has itself and more than {FREE_VALUES} values for each of its bytes")
        for item in self._items:
            if self._excess_of(item) > 0:
                raise _unsafe(f"it repeats an item with more than {FREE_VALUES} values for each of its bytes")
        self._flat = not self._items and not self.recursive

    def refuse_large(self, content: bytes) -> None:
        """Refuse a value that would take more than `MAX_MEMORY_BYTES`, in a time that is linear in its bytes.

        Raises:
            InvalidRecord: `too-complex`.
            Exception: any, where the content is not of the schema; the reader raises for it, too.
        """
        if len(content) > LARGE_BYTES and not self._flat:
            _Measure(self._types, content).add(self._schema)

    def _excess_of(self, schema: Any) -> int:
        if isinstance(schema, list):
            return max(map(self._excess_of, schema), default=0) - FREE_VALUES
        if isinstance(schema, str):
            if schema in LEAST_BYTES:
                return 1 - FREE_VALUES * LEAST_BYTES[schema]
            if schema not in self._types:
                raise _unsafe(f"it has no type {schema!r:.100}, which it names")
            if schema not in self._excess:
                self.recursive.add(schema)
            return self._excess.get(schema, 1)
        kind = schema["type"]
        if kind in ("array", "map"):
            item = schema["items"] if kind == "array" else ["null", schema["values"]]
            self._excess_of(item)
            self._items.append(item)
            return 1 - FREE_VALUES
        if kind in ("record", "error", "enum", "fixed"):
            name = schema["name"]
            if name not in self._types:
                self._types[name] = schema
                if kind in ("enum", "fixed"):
                    self._excess[name] = 1 - FREE_VALUES * (int(schema["size"]) if kind == "fixed" else 1)
                else:
                    self._excess[name] = 1 + sum(self._excess_of(field["type"]) for field in schema["fields"])
            return self._excess[name]
        return self._excess_of(kind)


class _Measure:
    """The memory that a value takes, added up without making it."""

    def __init__(self, types: dict[str, Any], content: bytes) -> None:
        self._types = types
        self._content = content
        self._position = 0
        self._memory = 0

    def add(self, schema: Any) -> None:
        if isinstance(schema, list):
            self.add(schema[self._number()])
            return
        if isinstance(schema, str):
            schema = self._types.get(schema, schema)
        kind = schema if isinstance(schema, str) else schema["type"]
        if not isinstance(kind, str) or kind in self._types:
            self.add(kind)
            return
        self._take(MEMORY.get(kind, PLAIN_MEMORY))
        if kind in ("record", "error"):
            for field in schema["fields"]:
                self.add(field["type"])
        elif kind in ("array", "map"):
            self._items(kind, schema["items" if kind == "array" else "values"])
        elif kind in ("bytes", "string"):
            self._skip(self._number())
        elif kind in ("int", "long", "enum"):
            self._number()
        else:
            self._skip(int(schema["size"]) if kind == "fixed" else LEAST_BYTES[kind])

    def _items(self, kind: str, item: Any) -> None:
        while count := self._number():
            if count < 0:
                # The size of the block follows, which one may skip it by.
                count = -count
                self._number()
            if item in ("float", "double"):
                self._take(count * PLAIN_MEMORY)
                self._skip(count * LEAST_BYTES[item])
                continue
            for _ in range(count):
                if kind == "map":
                    self.add("string")
                self.add(item)

    def _take(self, memory: int) -> None:
        self._memory += memory
        if self._memory > MAX_MEMORY_BYTES:
            raise InvalidRecord(
                "too-complex",
                f"The {len(self._content)} bytes have so many items that they would take more than {MAX_MEMORY_BYTES} "
                "bytes of memory.",
            )

    def _skip(self, size: int) -> None:
        self._position += size
        if size < 0 or self._position > len(self._content):
            raise EOFError(f"a length leads beyond the {len(self._content)} bytes")

    def _number(self) -> int:
        """A zigzag varint of at most ten bytes."""
        number = shift = 0
        while True:
            byte = self._content[self._position]
            self._position += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (number >> 1) ^ -(number & 1)
            shift += 7
            if shift > 63:
                raise ValueError("a number has more than ten bytes")


def bound_decimals() -> None:
    """Have fastavro refuse decimals above `DECIMAL_BYTES`: reading one takes a time that is quadratic in its size."""
    from fastavro.read import LOGICAL_READERS

    for name in ("bytes-decimal", "fixed-decimal"):
        if not isinstance(LOGICAL_READERS[name], _BoundedDecimal):
            LOGICAL_READERS[name] = _BoundedDecimal(LOGICAL_READERS[name])


class _BoundedDecimal:
    def __init__(self, read: Callable[..., Any]) -> None:
        self._read = read

    def __call__(self, data: bytes, writer_schema: Any = None, reader_schema: Any = None) -> Any:
        if len(data) > DECIMAL_BYTES:
            raise InvalidRecord("too-complex", f"A decimal has {len(data)} bytes and the limit is {DECIMAL_BYTES}.")
        return self._read(data, writer_schema, reader_schema)


def _unsafe(fault: str) -> InvalidRecord:
    return InvalidRecord(
        "unsafe-schema", f"By the value's Avro schema few bytes can take any amount of memory: {fault}."
    )
