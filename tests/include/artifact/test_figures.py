"""The confusion matrix picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from include.artifact.figures import draw_confusion


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
