"""Predictions as a table, for notebooks."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.definition.pipeline import Pipeline
from include.errors import PermanentError
from include.kafka.connection import KafkaConnection
from include.kafka.environment import in_environment
from include.kafka.newest import newest_records
from include.kafka.ranges import freeze_ranges, starting_at
from include.kafka.reader import read_ranges
from include.kafka.records import address_of
from include.targets.base import Task

if TYPE_CHECKING:
    import pandas as pd
    from confluent_kafka import Message


log = logging.getLogger(__name__)

GROUP = "millrace.read-predictions"
LEFT_OUT = "left_out"
LOGGED_FAULTS = 5
# Of a table's columns by name: 400 MB.
MOST_CELLS = 50_000_000
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


class PublishedRow(BaseModel):
    """The fields of `include.prediction.json_record.prediction_values` but the answer; others may join them."""

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

    @property
    def names(self) -> tuple[str, ...]:
        """The names that its answer gives values by."""
        return ()

    def columns(self) -> dict[str, Any]:
        """The fields by column, with `score.<label>` for each of `scores` and `value.<name>` for each of `values`."""
        columns: dict[str, Any] = {}
        for name, content in self.model_dump().items():
            if isinstance(content, dict):
                columns |= {f"{name.removesuffix('s')}.{key}": value for key, value in content.items()}
            else:
                columns[name] = content
        return columns


class Scored(BaseModel):
    """One of the best labels of a classification."""

    model_config = ConfigDict(strict=True, frozen=True)

    label: str
    score: float


class PredictionRow(PublishedRow):
    """What a classification answers; `top` is None where the record has none."""

    label: str
    score: float
    top: list[Scored] | None = None

    def columns(self) -> dict[str, Any]:
        columns = super().columns()
        return {name: content for name, content in columns.items() if name != "top" or content is not None}


class MultiLabelRow(PublishedRow):
    """What is answered where a sample may have several labels."""

    labels: list[str]
    scores: dict[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.scores)


class RegressionRow(PublishedRow):
    """What a regression answers."""

    values: dict[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.values)


ROWS: dict[Task, type[PublishedRow]] = {
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
        `score.<label>` where a sample may have several, `value.<name>` of a regression; `top` as lists of objects where
        records have it); `timestamp`, the request's own
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
    group = in_environment(connection.environment, GROUP)
    if begin is not None:
        ranges = starting_at(connection, group, ranges, int(begin))
    if number is None:
        reading = read_ranges(connection, group, ranges)
        messages = [message for _, found in reading for message in found if wanted(message)]
        messages.sort(key=lambda message: message.timestamp()[1])
    else:
        messages = newest_records(connection, group, ranges, number, wanted=wanted)[0][::-1]
    return predictions_table(messages, pipeline.training.task)


def predictions_table(messages: Iterable[Message], task: Task) -> pd.DataFrame:
    """The predictions among the messages in their order, as `read_predictions` gives them."""
    import numpy as np
    import pandas as pd

    kind = ROWS[task]
    rows, left_out = _rows(messages, kind)
    rows, too_wide = _narrow(rows)
    left_out += too_wide
    columns = [row.columns() for row in rows]
    usual = [name for name in DTYPES if kind is PredictionRow or name in PublishedRow.model_fields]
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


def _narrow(rows: list[PublishedRow]) -> tuple[list[PublishedRow], int]:
    """The rows whose columns by name fit into one table, and how many don't.

    Each name is a column for all rows, and one record may have sixty thousand. Records of one model have the same
    names, so the most frequent names come first, and others are left out where they would make the table too large.
    """
    by_names: defaultdict[tuple[str, ...], list[PublishedRow]] = defaultdict(list)
    for row in rows:
        by_names[row.names].append(row)
    known: set[str] = set()
    kept, most_cells = 0, MOST_CELLS
    wide: set[tuple[str, ...]] = set()
    for names, group in sorted(by_names.items(), key=lambda item: (-len(item[1]), len(item[0]))):
        wider = known.union(names)
        cells = len(wider) * (kept + len(group))
        if not kept:
            # Whoever has a large model has the memory for its rows, and for those of the version before it.
            most_cells = max(most_cells, 4 * cells)
        if cells > most_cells:
            wide.add(names)
        else:
            known, kept = wider, kept + len(group)
    if wide:
        log.warning(
            "%d records are left out, as the names of their answers would make a table of more than %d cells.",
            len(rows) - kept,
            most_cells,
        )
    return [row for row in rows if row.names not in wide], len(rows) - kept


def _rows(messages: Iterable[Message], kind: type[PublishedRow]) -> tuple[list[PublishedRow], int]:
    rows: list[PublishedRow] = []
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
