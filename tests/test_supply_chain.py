"""What lists the parts that Millrace installs names all of them."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from include.local.broker.jars import read_lock
from include.storage.state import PROJECT_ROOT

LICENSES = runpy.run_path(str(PROJECT_ROOT / ".ci" / "licenses.py"))
SBOM = runpy.run_path(str(PROJECT_ROOT / ".ci" / "sbom.py"))
PAGE = (PROJECT_ROOT / "docs" / "licenses.md").read_text(encoding="utf-8")


def listed() -> dict[str, str]:
    """The licence of every name in the page's tables."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.partition(LICENSES["BEGIN"])[2].splitlines()]
    return {name: row[0] for row in rows if len(row) == 2 for name in row[1].split(", ")}


def test_the_page_names_the_licence_of_every_package_and_jar() -> None:
    """`make licenses` after a change of the requirements."""
    components = [*LICENSES["packages"](), *LICENSES["jars"]()]
    assert len(components) > 200
    assert {part.name: part.license for part in components}.items() <= listed().items()


def test_the_text_that_a_wheel_lacks_is_added() -> None:
    (loader,) = [part for part in LICENSES["packages"]() if part.name == "espeakng-loader"]
    assert b"GNU GENERAL PUBLIC LICENSE" in loader.texts["espeakng-loader.txt"]


def test_the_sbom_names_every_jar_with_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sbom.cdx.json"
    file.write_text(json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "a-package"}]}))
    monkeypatch.setattr(sys, "argv", ["sbom.py", str(file)])
    SBOM["main"]()
    first, *jars = json.loads(file.read_text())["components"]
    assert first == {"name": "a-package"}
    assert [hashes(jar) for jar in jars] == [jar.sha256 for jar in read_lock()]


@pytest.mark.parametrize("name", sorted(path.stem for path in PROJECT_ROOT.glob("requirements*.in")))
def test_every_pin_has_its_hashes_and_no_host(name: str) -> None:
    """`make lock` after a change of the requirements."""
    first, *pins = re.split(r"\n(?=\S)", (PROJECT_ROOT / f"{name}.txt").read_text(encoding="utf-8").rstrip())
    assert first.startswith("#")
    pins = [pin for pin in pins if not pin.startswith("#")]
    assert pins
    assert [
        pin for pin in pins if not re.fullmatch(r"\S+==\S+( ; [^\n]+?)?( \\\n    --hash=sha256:[0-9a-f]{64})+", pin)
    ] == []


def hashes(component: dict[str, Any]) -> str:
    (only,) = component["hashes"]
    return str(only["content"])
