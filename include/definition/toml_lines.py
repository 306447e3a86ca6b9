"""On which line of a TOML file a fault is; `tomllib` gives values without their places."""

import re

SYNTAX = re.compile(r"\(at line (\d+), column \d+\)$")
HEADER = re.compile(r"\s*(\[\[?)\s*([\w.-]+)\s*\]\]?")
KEY = re.compile(r"\s*([\w.-]+)\s*=")


def line_of(text: str, fault: str) -> int | None:
    """The line, counted from 1, of the key that a fault of `read_pipeline` begins with, or of its table.

    Keys in quotes and in inline tables are not found; their table is. None if not even that is in the file.
    """
    if syntax := SYNTAX.search(fault):
        return int(syntax[1])
    places = _places(text)
    key = re.match(r"[\w.-]*", fault)[0]  # type: ignore[index]  # it matches the empty text too
    while key:
        if key in places:
            return places[key]
        key = key.rpartition(".")[0]
    return None


def _places(text: str) -> dict[str, int]:
    """The line of every table and key by its dotted name, with the index of a table of an array: `training.augment.0`.

    A line of a multi-line string that looks like a key is taken for one unless the key is there already.
    """
    places: dict[str, int] = {}
    arrays: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := HEADER.match(line):
            table = header[2]
            if header[1] == "[[":
                arrays[table] = arrays.get(table, -1) + 1
                places.setdefault(table, number)
                table = f"{table}.{arrays[table]}"
            places.setdefault(table, number)
        elif key := KEY.match(line):
            places.setdefault(f"{table}.{key[1]}" if table else key[1], number)
    return places
