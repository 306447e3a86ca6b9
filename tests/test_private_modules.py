"""A module `_name` belongs to its package: others import the names that the package exports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.storage.state import PROJECT_ROOT

FOLDERS = ("include", "plugins", "dags", "benchmarks", "tests")
OURS = ("include.", "millrace.")
PRIVATE = re.compile(r"\._(?!_)")
IMPORTS = (
    "import include.codecs._image",
    "from include.codecs import _image",
    "from include.codecs._image import MODES",
)


def imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if (PROJECT_ROOT / node.module.replace(".", "/")).is_dir():  # the names may be modules
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def foreign_private_imports(file: Path, importer: str) -> list[str]:
    """Imports of a private module by `importer`, a dotted name that is not in that module's package."""
    found = []
    for module in imported_modules(file):
        public = PRIVATE.split(module)[0]
        if module.startswith(OURS) and public != module and not importer.startswith(f"{public}."):
            found.append(f"{file}: {module}")
    return found


def test_a_private_module_is_imported_by_its_own_package_alone() -> None:
    # plugins/millrace is the package millrace, and tests/include mirrors include: its tests may test what is private.
    files = [file for folder in FOLDERS for file in (PROJECT_ROOT / folder).rglob("*.py")]
    assert len(files) > 300
    found = []
    for file in files:
        importer = ".".join(file.relative_to(PROJECT_ROOT).with_suffix("").parts)
        found += foreign_private_imports(file, importer.removeprefix("plugins.").removeprefix("tests."))
    assert found == []


@pytest.mark.parametrize("line", IMPORTS)
def test_a_package_alone_may_import_its_private_module(line: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(line)
    assert foreign_private_imports(file, "include.codecs.png") == []
    assert foreign_private_imports(file, "include.commands.peek") != []
