"""Predictions as a table, for notebooks."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.errors import PermanentError
from include.kafka.newest import newest_records
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.reader import read_ranges
from include.kafka.records import address_of
from include.targets.base import Task

if TYPE_CHECKING:
    import pandas as pd
    from confluent_kafka import Message

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection

log = logging.getLogger(__name__)

GROUP = "millrace.read-predictions"
LEFT_OUT = "left_out"
LOGGED_FAULTS = 5
# NumPy's number for NaT.
NOT_A_TIME = -(2**63)
# Columns of a classification's answers; other tasks have columns by name.
DTYPES = {
    "id": "str",
    "label": "str",
    "score": "float64",
    "timestamp": "datetime64[ms, UTC]",
    "model": "str",
    "version": "int64",
    "digest": "str",
    "manifest": "str",
    "topic": "str",
    "partition": "int64",
    "offset": "int64",
}

Count = Annotated[int, Field(ge=0, lt=2**63)]


class InvalidPeriod(PermanentError):
    """A time without its zone, a period that ends before it begins, or no rows asked for."""


class _Row(BaseModel):
    """The fields of `include.prediction.json_record.prediction_value` but the answer; others may join them."""

    model_config = ConfigDict(strict=True, frozen=True)

    id: str
    timestamp: Count | None
    model: str
    version: Count
    digest: str
    manifest: str
    topic: str
    partition: Count
    offset: Count

    def columns(self) -> dict[str, Any]:
        """What the row has, by column."""
        return self.model_dump()


class PredictionRow(_Row):
    """What a classification answers."""

    label: str
    score: float


class MultiLabelRow(_Row):
    """What is answered where a sample may have several labels."""

    labels: list[str]
    scores: dict[str, float]

    def columns(self) -> dict[str, Any]:
        """The labels as a list, and `score.<label>` for each."""
        return self.model_dump(exclude={"scores"}) | {f"score.{name}": score for name, score in self.scores.items()}


class RegressionRow(_Row):
    """What a regression answers."""

    values: dict[str, float]

    def columns(self) -> dict[str, Any]:
        """`value.<name>` for each number."""
        return self.model_dump(exclude={"values"}) | {f"value.{name}": value for name, value in self.values.items()}


ROWS: dict[Task, type[_Row]] = {
    "classification": PredictionRow,
    "multi-label": MultiLabelRow,
    "regression": RegressionRow,
}


def read_predictions(
    connection: KafkaConnection,
    pipeline: Pipeline,
    since: datetime | None = None,
    until: datetime | None = None,
    number: int | None = None,
) -> pd.DataFrame:
    """The pipeline's committed predictions, each once, in the order of their publishing.

    ```python
    from datetime import UTC, datetime, timedelta

    from include.kafka.connection import KafkaConnection
    from include.definition.files import load_pipeline
    from include.prediction.read import read_predictions

    connection = KafkaConnection({"bootstrap.servers": "127.0.0.1:9092"})
    day = read_predictions(connection, load_pipeline("digits"), since=datetime.now(UTC) - timedelta(days=1))
    day.groupby(["version", "label"])["score"].describe()
    ```

    Args:
        since, until: when predictions were published, `until` exclusive; None for no limit.
        number: the newest of them at most; None for all, which have to fit into memory.

    Returns:
        One row a prediction with the fields of its record: `score` as float64, 0 to 1 (`labels` as lists and
        `score.<label>` where a sample may have several, `value.<name>` of a regression); `timestamp`, the request's own
        time, as datetime64[ms, UTC], NaT where it has none; `version`, `partition` and `offset` as int64; the
        others as str. Records that are no predictions have no row: they are logged, and counted in
        `attrs["left_out"]`.

    Raises:
        InvalidPeriod: a time has no zone, `until` is not after `since`, or `number` is less than 1.
        TopicMissing, RangeUnavailable, ReaderStalled: see include.kafka.
    """
    _check(since, until, number)
    begin, end = (None if time is None else time.timestamp() * 1000 for time in (since, until))

    def wanted(message: Message) -> bool:
        published = message.timestamp()[1]
        return (begin is None or begin <= published) and (end is None or published < end)

    ranges = freeze_ranges(connection, pipeline.predictions_topic)
    if begin is not None:
        ranges = _from_time(connection, ranges, int(begin))
    if number is None:
        reading = read_ranges(connection, GROUP, ranges)
        messages = [message for _, found in reading for message in found if wanted(message)]
        messages.sort(key=lambda message: message.timestamp()[1])
    else:
        messages = newest_records(connection, GROUP, ranges, number, wanted=wanted)[0][::-1]
    return predictions_table(messages, pipeline.training.task)


def predictions_table(messages: Iterable[Message], task: Task) -> pd.DataFrame:
    """The predictions among the messages in their order, as `read_predictions` gives them."""
    import numpy as np
    import pandas as pd

    kind = ROWS[task]
    rows, left_out = _rows(messages, kind)
    columns = [row.columns() for row in rows]
    usual = [name for name in DTYPES if kind is PredictionRow or name in _Row.model_fields]
    named = dict.fromkeys(name for row in columns for name in row)
    table = pd.DataFrame.from_records(columns, columns=list(dict.fromkeys([*usual, *named])))
    # Not by pandas' parser, which knows no time beyond the year 9999; a request may have any.
    times = np.array([NOT_A_TIME if row.timestamp is None else row.timestamp for row in rows], np.int64)
    table["timestamp"] = pd.Series(times.astype("datetime64[ms]")).dt.tz_localize("UTC")
    table = table.astype({name: DTYPES[name] for name in usual})
    table.attrs[LEFT_OUT] = left_out
    return table


def _check(since: datetime | None, until: datetime | None, number: int | None) -> None:
    for name, time in (("since", since), ("until", until)):
        if time is not None and time.utcoffset() is None:
            raise InvalidPeriod(f"The time {name} = {time} has no zone: add one, datetime.UTC for instance.")
    if since is not None and until is not None and until <= since:
        raise InvalidPeriod(f"The period from since = {since} to until = {until} is empty: let until be after since.")
    if number is not None and number < 1:
        raise InvalidPeriod(f"The number of predictions is {number} and has to be 1 at least: leave it out for all.")


def _from_time(connection: KafkaConnection, ranges: Sequence[OffsetRange], milliseconds: int) -> list[OffsetRange]:
    """The ranges, each from its first record that is not older; later records may be older."""
    from confluent_kafka import KafkaException, TopicPartition

    asked = [TopicPartition(item.topic, item.partition, max(0, milliseconds)) for item in ranges]
    with connection.consumer(GROUP) as consumer:
        try:
            places = consumer.offsets_for_times(asked, timeout=connection.timeout_s)
        except KafkaException as error:
            raise connection.explain(
                error, f"looking for a time in {ranges[0].topic}", topic=ranges[0].topic
            ) from error
    offsets: dict[int, int] = {}
    for place in places:
        if place.error is not None:
            raise connection.explain(KafkaException(place.error), f"looking for a time in {place.topic}")
        # A negative offset means that all records are older.
        offsets[place.partition] = place.offset if place.offset >= 0 else sys.maxsize
    return [replace(item, start=min(item.end, max(item.start, offsets[item.partition]))) for item in ranges]


def _rows(messages: Iterable[Message], kind: type[_Row]) -> tuple[list[_Row], int]:
    rows: list[_Row] = []
    left_out = 0
    faults: deque[str] = deque(maxlen=LOGGED_FAULTS)
    for message in messages:
        try:
            rows.append(kind.model_validate_json(message.value() or b""))
        except ValidationError as error:
            fault = error.errors()[0]
            left_out += 1
            faults.append(f"{address_of(message)}: {'.'.join(map(str, fault['loc']))} {fault['msg']}")
    if left_out:
        log.warning("%d records are no predictions and are left out, the last ones: %s.", left_out, "; ".join(faults))
    return rows, left_out
