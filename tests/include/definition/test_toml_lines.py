"""A fault's line is that of its key, or else of its table."""

from __future__ import annotations

import pytest

from include.definition.toml_lines import line_of

TEXT = """\
description = "Cat or dog?"

[training]
epochs = 0

[[training.augment]]
kind = "image.flip"

[[training.augment]]
kind = "image.turn"
degrees = 1000

[format.spectrogram]
hop = 0
"""


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("description = 3: Input should be a valid string", 1),
        ("training.epochs = 0: Input should be greater than or equal to 1", 4),
        ("training.labels: Field required", 3),
        ("training.augment.0.kind = 'image.flop': no such kind", 7),
        ("training.augment.1.degrees = 1000: Input should be less than or equal to 180", 11),
        ("format.spectrogram.hop = 0: Input should be greater than or equal to 1", 14),
        ("model: Field required", None),
        ("not a TOML file: Expected '=' after a key in a key/value pair (at line 7, column 3)", 7),
        ("cannot be read: No such file or directory", None),
    ],
)
def test_the_line_of_a_fault(fault: str, line: int | None) -> None:
    assert line_of(TEXT, fault) == line
