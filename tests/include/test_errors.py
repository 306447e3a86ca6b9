"""The errors of libraries as part of a sentence."""

import pytest

from include.errors import one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such file"), "ValueError: no such file"),
        (RuntimeError("line one\n\n  line two\t"), "RuntimeError: line one line two"),
        (KeyError(), "KeyError"),
        (OSError("x" * 501), f"OSError: {'x' * 500}"),
    ],
)
def test_an_error_becomes_one_line_of_bounded_length(error: Exception, line: str) -> None:
    assert one_line(error) == line
