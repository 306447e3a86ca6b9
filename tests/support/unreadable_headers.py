"""A record with a header name that is not UTF-8: Kafka accepts it, and only librdkafka's C API can write it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

import confluent_kafka

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

TIMEOUT_MS = 30_000
# From rdkafka.h: tags of the arguments of `rd_kafka_producev`, and the flag that copies the value.
END, TOPIC, VALUE, FLAGS, HEADER = 0, 1, 4, 7, 9
COPY = 2


def produce_unreadable_header(kafka: KafkaConnection, topic: str, value: bytes) -> None:
    """Write one record with a readable and an unreadable header, and wait for its delivery."""
    library = ctypes.CDLL(str(next(Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka*/**/librdkafka*"))))
    library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = ctypes.c_void_p
    text = ctypes.create_string_buffer(512)
    settings = ctypes.c_void_p(library.rd_kafka_conf_new())
    for name, content in kafka.settings.items():
        assert library.rd_kafka_conf_set(settings, name.encode(), str(content).encode(), text, len(text)) == 0, (
            text.value
        )
    producer = ctypes.c_void_p(library.rd_kafka_new(0, settings, text, len(text)))
    assert producer, text.value
    try:
        headers = (_header(b"schema", b"tensor.raw/1"), _header(b"\xff\xfe", b"content"))
        arguments = (
            *(ctypes.c_int(TOPIC), ctypes.c_char_p(topic.encode())),
            *(ctypes.c_int(VALUE), ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
            *(ctypes.c_int(FLAGS), ctypes.c_int(COPY)),
            *(part for header in headers for part in header),
            ctypes.c_int(END),
        )
        assert library.rd_kafka_producev(producer, *arguments) == 0
        assert library.rd_kafka_flush(producer, TIMEOUT_MS) == 0
    finally:
        library.rd_kafka_destroy(producer)


def _header(name: bytes, content: bytes) -> tuple[ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ssize_t]:
    return ctypes.c_int(HEADER), ctypes.c_char_p(name), ctypes.c_char_p(content), ctypes.c_ssize_t(len(content))
