"""Rows of a table: a JSON object with a number or a category in each named column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from include.codecs._row_statistics import RowCounter, RowStatistics
from include.codecs.base import Codec, DecodedBatch, check_sample, read_each
from include.field_text import NoSingleText, field_text
from include.number_text import number_in
from include.refusal import InvalidRecord
from include.row_json import row_json
from include.strict_json import read_json

if TYPE_CHECKING:
    import numpy as np

Column = Annotated[str, Field(min_length=1, max_length=1000)]

# The first codes of each category. A vocabulary's texts have the codes behind them.
MISSING, UNKNOWN, FIRST_KNOWN = 0, 1, 2
MAX_TEXT_BYTES = 1024
# How many codes of a category are counted separately where inputs are described.
DESCRIBED_CODES = 10
MAX_FLOAT32 = 3.4028234663852886e38  # of float32
# A standardised number beyond this is an error of measurement, and would dominate every other column.
MAX_DEVIATIONS = 1000.0


class RowCodec(Codec):
    """JSON objects; columns that are not named are ignored.

    A sample is float64 (columns,): the numbers, NaN where one is missing, then a code for each category: 0 for missing,
    1 for a text that is not in the vocabulary, 2 and more for the vocabulary's. Inputs are the standardised numbers, a
    missing one as 0; with `missing = "mark"` a 1 for each number that is missing; and the codes.

    Mean, deviation and vocabularies are those of the training samples, see `counting`. Before they are known, every
    text has the code 1, and there are no inputs.

    Args:
        numbers: the columns of numbers, as JSON numbers or as text.
        categories: the columns with one of several texts; see `include.field_text` for the text of a number or boolean.
        missing: whether a row without a value in a column is refused, or the value is marked as missing: a number
            is the mean then, with an input of 1 beside it, and a category has a code of its own. Null, NaN, and the
            empty text are missing.
        missing_texts: other texts that stand for a missing value, `NA` for instance.
        vocabulary: most texts of a category; the rarest ones beyond are unknown.
    """

    kind: Literal["row"] = "row"
    numbers: tuple[Column, ...] = ()
    categories: tuple[Column, ...] = ()
    missing: Literal["refuse", "mark"] = "refuse"
    missing_texts: tuple[str, ...] = ()
    vocabulary: Annotated[int, Field(ge=1, le=100_000)] = 1000

    _statistics: RowStatistics | None = PrivateAttr(None)
    _codes: tuple[dict[str, int], ...] = PrivateAttr(())
    _counter: RowCounter | None = PrivateAttr(None)

    @field_validator("categories")
    @classmethod
    def _once(cls, value: tuple[str, ...], info: Any) -> tuple[str, ...]:
        twice = [name for name, times in Counter((*info.data.get("numbers", ()), *value)).items() if times > 1]
        if twice:
            raise ValueError(f"column {twice[0]!r} is named twice in numbers and categories")
        return value

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.columns:
            raise ValueError("a row has at least one column; name it in numbers or categories")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Numbers, then categories."""
        return (*self.numbers, *self.categories)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (len(self.columns),)

    @property
    def number_inputs(self) -> int:
        """How many inputs come before the codes."""
        return len(self.numbers) * (2 if self.missing == "mark" else 1)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.number_inputs + len(self.categories),)

    @property
    def statistics(self) -> RowStatistics | None:
        """Those of the training samples, once they are known."""
        return self._statistics if self._counter is None else self._counter.statistics(self.vocabulary)

    def counting(self) -> RowCodec:
        codec = self.model_copy()
        codec._counter = RowCounter(self.numbers, self.categories)
        return codec

    def with_statistics(self, statistics: RowStatistics | None) -> RowCodec:
        codec = self.model_copy()
        codec._counter = None
        codec._statistics = statistics
        codec._codes = tuple(
            {text: FIRST_KNOWN + place for place, text in enumerate(texts)}
            for texts in (statistics.vocabularies if statistics else ())
        )
        return codec

    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        """See `Codec.encode`; NaN and the code of missing texts are left out.

        Raises:
            ValueError: shape or dtype do not fit the format, or a code has no text.
        """
        check_sample(sample, self.sample_shape, "float64")
        cells: list[tuple[str, Any]] = list(zip(self.numbers, sample.tolist(), strict=False))
        for position, column in enumerate(self.categories):
            code = int(sample[len(self.numbers) + position])
            texts = self._statistics.vocabularies[position] if self._statistics else ()
            if code != MISSING and not 0 <= code - FIRST_KNOWN < len(texts):
                raise ValueError(f"Code {code} of column {column!r} has no text: give the row as JSON.")
            cells.append((column, None if code == MISSING else texts[code - FIRST_KNOWN]))
        return row_json(cells).encode()

    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        import numpy as np

        rows, positions, refusals = read_each(values, self._read, "a row")
        numbers, texts = [row[0] for row in rows], [row[1] for row in rows]
        if self._counter is not None:
            self._counter.add(numbers, texts)
        samples = np.empty((len(positions), *self.sample_shape), np.float64)
        samples[:, : len(self.numbers)] = np.array(numbers, np.float64).reshape(len(positions), len(self.numbers))
        codes = self._codes or ({},) * len(self.categories)
        for place, code_of in enumerate(codes):
            samples[:, len(self.numbers) + place] = [
                MISSING if row[place] is None else code_of.get(row[place] or "", UNKNOWN) for row in texts
            ]
        return DecodedBatch(samples, np.asarray(positions, np.int64), refusals)

    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """See `Codec.to_inputs`; zeros while the statistics are counted.

        Raises:
            ValueError: there are no statistics.
        """
        import numpy as np

        inputs = np.zeros((len(samples), *self.input_shape), np.float32)
        if self._counter is not None:
            return inputs
        if self._statistics is None:
            raise ValueError("A row has no inputs without the statistics of the training samples: see counting().")
        count = len(self.numbers)
        numbers = samples[:, :count]
        standardised = (numbers - np.array(self._statistics.mean)) / np.array(self._statistics.deviation)
        missing = np.isnan(numbers)
        inputs[:, :count] = np.where(missing, 0, np.clip(standardised, -MAX_DEVIATIONS, MAX_DEVIATIONS))
        if self.missing == "mark":
            inputs[:, count : 2 * count] = missing
        inputs[:, self.number_inputs :] = samples[:, count:]
        return inputs

    @property
    def described(self) -> tuple[str, ...]:
        marks = tuple(f"{column} is missing" for column in self.numbers) if self.missing == "mark" else ()
        return (*self.numbers, *marks, *self.categories)

    def describe(self, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """See `Codec.describe`: the columns themselves.

        Numbers are in standard deviations from the mean of the training samples. A category is its code, and the codes
        beyond the most frequent texts are one.
        """
        import numpy as np

        described = inputs.copy()
        codes = described[:, self.number_inputs :]
        np.minimum(codes, DESCRIBED_CODES - 1, out=codes)
        return described

    def _read(self, value: bytes) -> tuple[list[float | None], list[str | None]]:
        """The row's numbers and texts."""
        row = read_json(value)
        if not isinstance(row, dict):
            raise InvalidRecord("wrong-type", "The JSON is not an object, and a row was expected.")
        return (
            [self._number(column, row.get(column)) for column in self.numbers],
            [self._text(column, row.get(column)) for column in self.categories],
        )

    def _number(self, column: str, cell: Any) -> float | None:
        text = cell.strip() if isinstance(cell, str) else cell
        if text is None or text == "" or text in self.missing_texts:
            self._check_missing(column)
            return None
        number = number_in(text) if isinstance(text, str) else None
        if number is None:
            is_text = isinstance(text, str)
            hint = "; missing_texts of [format] names texts that stand for a missing value" if is_text else ""
            raise InvalidRecord("undecodable", f"Column {column!r} holds {cell!r:.60}, which is no number{hint}.")
        if number != number:  # noqa: PLR0124 - only NaN differs from itself
            self._check_missing(column)
            return None
        if abs(number) > MAX_FLOAT32:
            raise InvalidRecord("not-finite", f"Column {column!r} holds {text:.60}, which is beyond float32.")
        return number

    def _text(self, column: str, cell: Any) -> str | None:
        try:
            text = cell if type(cell) is str else field_text(cell)
        except NoSingleText as error:
            raise InvalidRecord("wrong-type", f"Column {column!r} is no category: {error}") from error
        if not text or text in self.missing_texts:
            self._check_missing(column)
            return None
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise InvalidRecord(
                "invalid-utf8", f"Column {column!r} has half a surrogate pair at {error.start}."
            ) from error
        if size > MAX_TEXT_BYTES:
            raise InvalidRecord(
                "field-too-long", f"Column {column!r} has {size} bytes and the limit is {MAX_TEXT_BYTES}."
            )
        return text

    def _check_missing(self, column: str) -> None:
        if self.missing == "refuse":
            raise InvalidRecord(
                "missing-field",
                f'Column {column!r} of the row is missing, null or empty, and [format] has missing = "refuse".',
            )
