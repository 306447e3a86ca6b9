"""Protobuf without generated code: message types from descriptors, and a message as an object of fields."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from include.field_text import field_text

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

# The path of a message type within its file: no type is nested deeper, and no file has more types.
MAX_INDEXES, MAX_INDEX = 32, 100_000
MAX_VARINT_BYTES = 5
TIMESTAMP = "google.protobuf.Timestamp"
WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)


def pool_of(files: Iterable[FileDescriptorProto]) -> DescriptorPool:
    """A pool of these files; Google's and Confluent's own, such as `google/protobuf/timestamp.proto`, need not be
    among them.

    Raises:
        KeyError, TypeError: a file is missing, or is not valid.
    """
    from google.protobuf.descriptor_pool import DescriptorPool

    by_name = {file.name: file for file in files}
    pool, added = DescriptorPool(), set[str]()

    def add(name: str) -> None:
        if name in added:
            return
        added.add(name)
        file = by_name.get(name) or _well_known(name)
        for dependency in file.dependency:
            add(dependency)
        pool.Add(file)

    for name in by_name:
        add(name)
    return pool


def _well_known(name: str) -> FileDescriptorProto:
    # Importing it registers Google's and Confluent's own files with the default pool.
    import confluent_kafka.schema_registry.protobuf  # noqa: F401
    from google.protobuf import descriptor_pb2, descriptor_pool

    file = descriptor_pb2.FileDescriptorProto()
    descriptor_pool.Default().FindFileByName(name).CopyToProto(file)
    return file


def read_indexes(value: bytes, start: int) -> tuple[tuple[int, ...], int]:
    """The path of the message type in its file, as the registry's wire format has it, and where the message begins.

    Raises:
        ValueError: there is none, or it is longer than any file needs.
    """
    count, start = _varint(value, start)
    if count == 0:
        return (0,), start
    if not 0 < count <= MAX_INDEXES:
        raise ValueError(f"it has {count} message indexes, and the limit is {MAX_INDEXES}")
    indexes = []
    for _ in range(count):
        index, start = _varint(value, start)
        if not 0 <= index <= MAX_INDEX:
            raise ValueError(f"the message index {index} is not in 0 to {MAX_INDEX}")
        indexes.append(index)
    return tuple(indexes), start


def _varint(value: bytes, start: int) -> tuple[int, int]:
    """A zigzag number and where it ends."""
    number = 0
    for place, byte in enumerate(value[start : start + MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), start + place + 1
    raise ValueError("its message indexes are cut short or too long")


def message_type(file: FileDescriptor, indexes: Collection[int]) -> Descriptor:
    """The message type at a path.

    Raises:
        ValueError: the file has none there.
    """
    types: list[Descriptor] = list(file.message_types_by_name.values())
    found: Descriptor | None = None
    for index in indexes:
        if index >= len(types):
            raise ValueError(f"{file.name} has no message type at {list(indexes)}")
        found = types[index]
        types = list(found.nested_types)
    if found is None:
        raise ValueError(f"{file.name} has no message type at no index")
    return found


def indexes_of(descriptor: Descriptor) -> tuple[int, ...]:
    """The path of a message type in its file."""
    above = descriptor.containing_type
    siblings = descriptor.file.message_types_by_name.values() if above is None else above.nested_types
    place = [item.full_name for item in siblings].index(descriptor.full_name)
    return (place,) if above is None else (*indexes_of(above), place)


def field_reader(descriptor: Descriptor, names: Collection[str]) -> Callable[[bytes], dict[str, Any]]:
    """A function that reads the fields of these names from a message's bytes.

    A field that is not set and shows it, an `optional` one or a message, is left out. Repeated fields are lists, maps
    objects, and enumerations their names. Nothing that a message names is looked up or imported.
    """
    from google.protobuf.message_factory import GetMessageClass

    kind = GetMessageClass(descriptor)
    fields = [field for field in descriptor.fields if field.name in names]

    def read(content: bytes) -> dict[str, Any]:
        message = kind()
        message.ParseFromString(content)  # refuses more than 100 levels
        if not message.IsInitialized():
            missing = ", ".join(message.FindInitializationErrors()[:3])
            raise ValueError(f"it lacks the required fields {missing}")
        return _object(message, fields)

    return read


def _object(message: Message, fields: Iterable[FieldDescriptor]) -> dict[str, Any]:
    return {field.name: value for field in fields if (value := _value(message, field)) is not None}


def _value(message: Message, field: FieldDescriptor) -> Any:
    if field.is_repeated:
        values = getattr(message, field.name)
        if field.type == field.TYPE_MESSAGE and field.message_type.GetOptions().map_entry:
            item = field.message_type.fields_by_name["value"]
            return {field_text(key) or "": _single(values[key], item) for key in values}
        return [_single(value, field) for value in values]
    if field.has_presence and not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    return _shortest(value) if field.type == field.TYPE_FLOAT else _single(value, field)


def _single(value: Any, field: FieldDescriptor) -> Any:
    if field.type == field.TYPE_ENUM:
        named = field.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    if field.message_type is None:
        return value
    if field.message_type.full_name in WRAPPERS:
        return value.value
    if field.message_type.full_name == TIMESTAMP:
        return _time(value)
    return _object(value, field.message_type.fields)


def _time(value: Any) -> Any:
    from datetime import UTC, datetime, timedelta

    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


def _shortest(value: float) -> float:
    """The shortest decimal of a float of 32 bits, so that 0.1 is 0.1 and no 0.10000000149011612."""
    for digits in range(6, 10):
        shorter = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", shorter) == struct.pack("<f", value):
                return shorter
        except OverflowError:
            continue
    return value
