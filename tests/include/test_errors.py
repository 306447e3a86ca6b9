"""Counts, and the errors of libraries, as part of a sentence."""

import pytest

from include.errors import MillraceError, amount, one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such file"), "ValueError: no such file"),
        (RuntimeError("line one\n\n  line two\t"), "RuntimeError: line one line two"),
        (KeyError(), "KeyError"),
        (ValueError("\x1b[2Jid\x00 \u202e"), r"ValueError: \x1b[2Jid\x00 \u202e"),
        (OSError("x" * 501), f"OSError: {'x' * 500}"),
    ],
)
def test_an_error_becomes_one_line_of_bounded_length(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_nothing_in_an_errors_text_acts_on_a_terminal() -> None:
    error = MillraceError("Sample \x1b[31mred\r is no image: Grüße, 猫.\nIts log follows.")
    assert str(error) == "Sample \\x1b[31mred\\r is no image: Grüße, 猫.\nIts log follows."


@pytest.mark.parametrize(("number", "words"), [(0, "0 rows have"), (1, "1 row has"), (1234, "1,234 rows have")])
def test_one_thing_is_counted_as_one(number: int, words: str) -> None:
    assert amount(number, "row has", "rows have") == words
    assert amount(number, "row") == words.rpartition(" ")[0]
