"""One type and one table say why a record is no sample."""

from __future__ import annotations

import pytest

from include.refusal import REASONS, InvalidRecord, Refusal
from include.storage.state import PROJECT_ROOT


@pytest.mark.parametrize("kind", [Refusal, InvalidRecord])
def test_a_reason_that_is_not_in_the_table_cannot_be_made(kind: type[Refusal | InvalidRecord]) -> None:
    with pytest.raises(ValueError, match=r"'wrong-hat' is not in REASONS of include/refusal\.py"):
        kind("wrong-hat", "The hat is red.")


def test_every_reason_of_the_table_is_given_somewhere() -> None:
    files = [file for file in (PROJECT_ROOT / "include").rglob("*.py") if file.name != "refusal.py"]
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    assert [reason for reason in REASONS if f'"{reason}"' not in code] == []


def test_an_invalid_record_carries_its_refusal() -> None:
    error = InvalidRecord("empty", "The record has no value.")
    assert error.refusal == Refusal("empty", "The record has no value.")
    assert str(error) == "The record has no value."
    assert str(error.refusal) == "empty: The record has no value."
