"""Outcomes -> records: a prediction or a dead letter for every request that needs one, of a size its topic takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from include.kafka.dead_letters import dead_letter
from include.kafka.records import Address, OutgoingRecord
from include.prediction.json_record import prediction_values
from include.reading.row_versions import RowState
from include.refusal import Refusal

CLOUD_EVENT_TYPE = "millrace.prediction"

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.exactly_once.transaction import TransactionalWriter
    from include.prediction.answer import RequestOutcome
    from include.prediction.json_record import ModelIdentity
    from include.prediction.predictor import Predictor
    from include.prediction.requests import Requests


def outgoing_records(
    writer: TransactionalWriter,
    pipeline: Pipeline,
    predictor: Predictor,
    requests: Requests,
    ids: Sequence[bytes],
    outcomes: Sequence[RequestOutcome],
    run: str,
) -> tuple[list[OutgoingRecord], list[RequestOutcome]]:
    """One record for every request that needs an answer, and every outcome: what is too large is refused.

    Args:
        ids: the samples' ids, one for each request; the keys of the predictions.

    Raises:
        RecordTooLarge: the topic does not even take the explanation of a dead letter.
    """
    records: list[OutgoingRecord] = []
    published = list(outcomes)
    topic = pipeline.dead_letters_topic
    limit = writer.record_limit(pipeline.predictions_topic)
    predictions = prediction_records(pipeline.predictions_topic, predictor, requests, ids, outcomes, pipeline)
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, RowState):
            continue
        if isinstance(outcome, Refusal):
            refusal = outcome
        else:
            record = predictions[place]
            size = record.size_bound
            if size <= limit:
                records.append(record)
                continue
            refusal = Refusal("oversize", f"The prediction has {size} bytes with its key and its topic takes {limit}.")
        record, published[place] = dead_letter(
            topic, requests.record(place), refusal, run, largest=writer.record_limit(topic)
        )
        writer.check_size(record)
        records.append(record)
    return records, published


def prediction_records(
    topic: str,
    predictor: Predictor,
    requests: Requests,
    ids: Sequence[bytes],
    outcomes: Sequence[RequestOutcome],
    pipeline: Pipeline,
) -> dict[int, OutgoingRecord]:
    """The answers to the requests that have one, by their places.

    Args:
        ids: the samples' ids, one for each request.
        pipeline: says which of the request's headers the answer has too, and whether it is a CloudEvent.
    """
    answers = {place: outcome for place, outcome in enumerate(outcomes) if isinstance(outcome, dict)}
    identity, offsets, timestamps = predictor.identity, requests.offsets, requests.timestamps
    values = prediction_values(
        identity,
        requests.topic,
        requests.partition,
        [(offsets[place], timestamps[place]) for place in answers],
        # Bytes that are not UTF-8 are escaped, not replaced: two keys must not become one id.
        [ids[place].decode("utf-8", "backslashreplace") for place in answers],
        [*answers.values()],
    )
    headers = _headers(requests, identity, pipeline)
    # Dated when it is sent: a request's own time may be one that Kafka refuses, or that retention removes at once.
    return {
        place: OutgoingRecord(topic, ids[place], value, headers(place))
        for place, value in zip(answers, values, strict=True)
    }


def _headers(
    requests: Requests, identity: ModelIdentity, pipeline: Pipeline
) -> Callable[[int], list[tuple[str, bytes | None]]]:
    """The headers of the answer to the request at a place: the same list for all where they are the same."""
    model: list[tuple[str, bytes | None]] = [identity.header]
    carry, cloud_events = pipeline.prediction.carry, pipeline.prediction.cloud_events
    if not carry and not cloud_events:
        return lambda _: model
    found = requests.headers if carry else [()] * len(requests)

    def headers(place: int) -> list[tuple[str, bytes | None]]:
        address = Address(requests.topic, requests.partition, requests.offsets[place])
        event = cloud_event_headers(pipeline, identity, address) if cloud_events else []
        return [*model, *event, *(header for header in found[place] if header[0] in carry)]

    return headers


def cloud_event_headers(pipeline: Pipeline, model: ModelIdentity, address: Address) -> list[tuple[str, bytes]]:
    """The attributes of a CloudEvent 1.0 whose data is the record's value, in the binary mode of its Kafka binding.

    The id is the same whenever the same version answers the same request. There is no time, which would differ; the
    record has it.
    """
    attributes = {
        "ce_specversion": "1.0",
        "ce_type": CLOUD_EVENT_TYPE,
        "ce_source": f"/millrace/{pipeline.environment}/{pipeline.name}",
        "ce_id": f"{address}/{model.version}",
        "content-type": "application/json",
    }
    return [(name, text.encode()) for name, text in attributes.items()]
