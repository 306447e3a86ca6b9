"""A new kind is one new file, which is discovered."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from include.kinds import Config, find_kinds, one_of

KIND = """
from typing import Literal
from include.kinds import Config

class {name}(Config):
    kind: Literal["{kind}"] = "{kind}"
    size: int
"""


@pytest.fixture
def package(tmp_path, monkeypatch, new_name):
    """Makes a package of kinds out of a file each, and gives its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(**kinds):
        name = f"kinds_{new_name()}"
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").touch()
        for class_name, kind in kinds.items():
            (folder / f"{class_name.lower()}.py").write_text(KIND.format(name=class_name, kind=kind))
        return name

    yield make
    for name in [name for name in sys.modules if name.startswith("kinds_")]:
        del sys.modules[name]


def test_every_file_of_the_package_is_a_kind(package):
    kinds = find_kinds(package(Square="square", Circle="circle"), Config)

    assert {kind: found.__name__ for kind, found in kinds.items()} == {"square": "Square", "circle": "Circle"}


def test_a_private_file_is_not_imported(package):
    name = package(Square="square")
    (Path(importlib.import_module(name).__path__[0]) / "_helper.py").write_text("raise AssertionError('imported')\n")

    assert list(find_kinds(name, Config)) == ["square"]


def test_two_of_one_kind_are_refused(package):
    with pytest.raises(ValueError, match=r"(Square and Box|Box and Square) share the kind '\w+': give one"):
        find_kinds(package(Square="square", Box="square"), Config)


def test_a_table_s_kind_picks_its_class(package):
    adapter = TypeAdapter(one_of(find_kinds(package(Square="square", Circle="circle"), Config)))

    assert type(adapter.validate_python({"kind": "circle", "size": 3})).__name__ == "Circle"


@pytest.mark.parametrize("kinds", [{"Square": "square"}, {"Square": "square", "Circle": "circle"}], ids=["one", "two"])
@pytest.mark.parametrize("table", [{"size": 3}, {"kind": "sqare", "size": 3}], ids=["no kind", "unknown kind"])
def test_a_table_names_a_kind_that_there_is(package, kinds, table):
    """With one kind as with two: a file that is valid must not become invalid because somebody adds a kind."""
    adapter = TypeAdapter(one_of(find_kinds(package(**kinds), Config)))

    with pytest.raises(ValidationError):
        adapter.validate_python(table)


def test_a_config_cannot_be_changed(package):
    square = next(iter(find_kinds(package(Square="square"), Config).values()))(size=3)

    with pytest.raises(ValidationError):
        square.size = 4
