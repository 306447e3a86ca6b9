"""The address of a record."""

from __future__ import annotations

import pytest
from confluent_kafka import Message

from include.kafka.records import Address, address_of


def test_an_address_names_topic_partition_and_offset():
    address = address_of(Message(topic="shoes.requests", partition=2, offset=17))

    assert address == Address("shoes.requests", 2, 17)
    assert str(address) == "shoes.requests/2/17"


def test_a_record_that_was_not_consumed_has_no_address():
    with pytest.raises(ValueError, match="not consumed"):
        address_of(Message(value=b"value"))
