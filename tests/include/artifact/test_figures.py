"""The confusion matrix picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from include.artifact.figures import draw_confusion

LABELS = ["$x^$", r"$\frac{", "two\nlines", "\x1b[31m\x00", "\ud800", "\u202eabc", "", "a" * 10_000, "猫", "😀"]


def test_a_label_may_be_any_text(tmp_path: Path) -> None:
    path = tmp_path / "confusion.png"
    draw_confusion(path, [[1] * len(LABELS)] * len(LABELS), LABELS, "of each")
    with Image.open(path) as picture:
        assert max(picture.size) < 2500


@pytest.mark.parametrize("classes", [2, 100])
def test_it_is_a_picture_for_few_and_for_many_labels(tmp_path: Path, classes: int) -> None:
    path = tmp_path / "confusion.png"
    labels = [f"label {number}" for number in range(classes)]
    confusion = [[int(row == column) * 7 for column in range(classes)] for row in range(classes)]
    draw_confusion(path, confusion, labels, "7 of each")
    with Image.open(path) as picture:
        assert min(picture.size) >= 300
        # The diagonal is dark on a light ground.
        assert len(picture.convert("L").getcolors()) > 2
