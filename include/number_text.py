"""The number that a text stands for, in a cell of a table, a line of CSV or a field of JSON."""

import re

# Python's own float(), and NumPy's, take underscores and the digits of every script too.
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE)


def number_in(text: str) -> float | None:
    """The number, with a point before its decimals and blanks around it at most; None where the text is none."""
    return float(text) if NUMBER.fullmatch(text.strip()) else None
