"""The documentation is true of the tree: paths, errors and commands that it names exist, and its site stands alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from include.storage.state import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
FRONT = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*sorted(DOCS.rglob("*.md")), *(PROJECT_ROOT / name for name in FRONT)]
NAMES = [str(page.relative_to(PROJECT_ROOT)) for page in PAGES]
ROOMS = ("benchmarks", "dags", "docs", "include", "plugins", "tests")
# A path in code or prose; what a reader has to fill in, as in include/codecs/<name>.py, is no path.
PATH = re.compile(rf"(?<![\w/.<-])(?:{'|'.join(ROOMS)})/[\w./-]*[\w/](?![\w<*])")
# A script, style, font or picture that a browser fetches by itself; a link is followed by a person only.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?(?:https?:)?//[^>]*"""
    r"""|<link[^>]*rel=["']?(?:stylesheet|preload|preconnect|icon)[^>]*href=["']?(?:https?:)?//[^>]*"""
    r"""|url\(["']?(?:https?:)?//[^)]*|@import[^;]*//[^;]*"""
)


def section(page: Path, title: str) -> str:
    """The text below a heading, up to the next one of its level."""
    return re.split(r"^## ", page.read_text(encoding="utf-8").split(f"## {title}\n")[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_paths_that_a_page_names_exist(page: Path) -> None:
    paths = set(PATH.findall(page.read_text(encoding="utf-8")))
    examples = {"include/pipelines/flowers.toml"}
    assert sorted(path for path in paths - examples if not (PROJECT_ROOT / path).exists()) == []


def test_the_map_shows_every_room_of_the_library() -> None:
    library = (DOCS / "architecture.md").read_text(encoding="utf-8").split("\ninclude/")[1]
    rooms = re.split(r"^\S", library, flags=re.MULTILINE)[0]
    listed = set(re.findall(r"^  (\w+)/", rooms, re.MULTILINE))
    folders = {path.parent.name for path in (PROJECT_ROOT / "include").glob("*/__init__.py")}
    assert listed == folders | {"pipelines"}


def test_the_errors_of_the_operations_page_exist() -> None:
    table = section(DOCS / "operations.md", "When a task fails")
    errors = {
        error
        for row in re.findall(r"^\| (`[A-Z].*?) \|", table, re.MULTILINE)
        for error in re.findall(r"`([A-Z]\w+)`", row)
    }
    code = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT_ROOT / "include").rglob("*.py"))
    assert errors
    assert sorted(error for error in errors if f"class {error}(" not in code) == []


def test_the_buttons_of_the_operations_page_are_in_the_forms() -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    forms = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT_ROOT / "dags").glob("*.py"))
    buttons = re.findall(r"\*\*(.+?)\*\*", text)
    assert buttons
    assert sorted({button for button in buttons if f'title="{button}"' not in forms}) == []


def test_every_page_is_in_the_sites_navigation() -> None:
    navigation = yaml.safe_load((PROJECT_ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = [
        page for entry in navigation for page in (next(iter(entry.values())) if isinstance(entry, dict) else [entry])
    ]
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@pytest.mark.slow  # builds the whole site in another process
def test_the_site_is_built_without_a_broken_link_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stdout + built.stderr

    pages = [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]
    assert len(pages) > len(list(DOCS.rglob("*.md")))
    assert {found for page in pages for found in FETCHED.findall(page.read_text(encoding="utf-8"))} == set()
    # The theme's script would fetch the renderer of these diagrams.
    assert [page.name for page in pages if 'class="mermaid"' in page.read_text(encoding="utf-8")] == []
