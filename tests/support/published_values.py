"""The value of one prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.prediction.json_record import prediction_values

if TYPE_CHECKING:
    from include.kafka.records import Address
    from include.prediction.json_record import ModelIdentity
    from include.targets.base import Answer


def prediction_value(
    sample_id: str, answer: Answer, model: ModelIdentity, address: Address, timestamp_ms: int
) -> bytes:
    request = (address.offset, timestamp_ms)
    return prediction_values(model, address.topic, address.partition, [request], [sample_id], [answer])[0]
