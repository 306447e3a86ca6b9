"""The number that a text stands for: everywhere the same, and none by chance."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from include.codecs.row import RowCodec
from include.codecs.text_tensor import TextTensorCodec
from include.number_text import number_in
from include.sources.table import TableSource

# The digits of the third and the fourth are Arabic and of full width. Python's float() reads all but the last two.
NO_NUMBERS = ["12_3", "1_0e2", "\u0661\u0662", "\uff11\uff12", "1e1_0", "1,5", "0x10"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("123", 123),
        ("-1.5", -1.5),
        (" +.5 ", 0.5),
        ("70.", 70),
        ("1E-3", 1e-3),
        ("1e999", math.inf),
        ("-Inf", -math.inf),
    ],
)
def test_a_number_is_read(text: str, number: float) -> None:
    assert number_in(text) == number


@pytest.mark.parametrize("text", ["nan", "NaN"])
def test_a_missing_number_is_nan(text: str) -> None:
    assert math.isnan(number_in(text) or 0)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_refused_wherever_a_record_or_a_table_has_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(f'label,list,age\nx,"{text} 1","{text}"\n', encoding="utf-8")
    row, line = f'{{"age": "{text}"}}'.encode(), f"{text};1".encode()

    assert number_in(text) is None
    assert "no number" in fault(tmp_path, ["age"], (1,))
    assert "no list of numbers" in fault(tmp_path, "list", (2,))
    assert "no number" in TextTensorCodec(shape=(2,), dtype="float32").decode([line]).refusals[0].error
    assert "no number" in RowCodec(numbers=("age",)).decode([row]).refusals[0].error


def fault(folder: Path, content: str | list[str], shape: tuple[int, ...]) -> str:
    """What a table says of its one row."""
    settings = {"path": str(folder), "settle_s": 0, "label": "label", "content": content, "content_is": "numbers"}
    (sample,) = TableSource.model_validate({**settings, "shape": shape, "dtype": "float32"}).open().read(0, 1)
    assert sample.fault is not None
    return sample.fault
