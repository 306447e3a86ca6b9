"""What tests share: its place is tests/support, and a package's fixtures end with the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from include.storage.state import PROJECT_ROOT

TESTS = PROJECT_ROOT / "tests"


def imported_modules(path: Path) -> Iterator[str]:
    """Every name that an import statement of the file names, anywhere in it, with its module in front."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_file_imports_from_a_test_file() -> None:
    files = sorted(TESTS.rglob("*.py"))

    found = [
        f"{path.relative_to(PROJECT_ROOT)} imports {name}"
        for path in files
        for name in imported_modules(path)
        if name.startswith("tests.") and any(part == "conftest" or part.startswith("test_") for part in name.split("."))
    ]

    assert len(files) > 100
    assert found == []


def test_fixtures_of_a_package_are_in_one() -> None:
    """In a folder without `__init__.py` pytest ends them with the session, and a stack runs on beside other tests."""
    found = [path.parent for path in sorted(TESTS.rglob("conftest.py")) if 'scope="package"' in path.read_text()]

    assert found
    assert [folder.name for folder in found if not (folder / "__init__.py").is_file()] == []
