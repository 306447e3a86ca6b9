"""`validate` prints every fault of every file with its line, and its exit status says whether there is one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from typer.testing import CliRunner, Result

from include.__main__ import app
from include.definition.files import PIPELINES
from tests.support.assertions import assert_readable

if TYPE_CHECKING:
    import pytest

DIGITS = (PIPELINES / "digits.toml").read_text(encoding="utf-8")


def validate(*files: Path) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, files)])


def line(text: str, start: str) -> int:
    return 1 + next(number for number, line in enumerate(text.splitlines()) if line.startswith(start))


def test_valid_files_of_the_folder_are_counted(pipelines: Path) -> None:
    files = [shutil.copy(file, pipelines) for file in PIPELINES.glob("*.toml")]

    ran = validate()

    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr == f"{len(files)} of {len(files)} pipeline files are valid.\n"


def test_every_fault_of_every_file_has_its_line(pipelines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pipelines)
    shutil.copy(PIPELINES / "digits.toml", pipelines)
    wrong = DIGITS.replace("epochs = 10", "epochs = 0").replace("partitions", "partition")
    (pipelines / "wrong.toml").write_text(wrong)
    (pipelines / "broken.toml").write_text("description =\n")

    ran = validate()

    assert ran.exit_code == 1
    broken, *faults = ran.stdout.splitlines()
    assert broken.startswith("broken.toml:1: not a TOML file")
    assert sorted(fault.split(" = ")[0] for fault in faults) == [
        f"wrong.toml:{line(wrong, 'epochs')}: training.epochs",
        f"wrong.toml:{line(wrong, 'partition')}: topics.partition",
    ]
    assert ran.stderr == "1 of 3 pipeline files are valid.\n"


def test_named_files_are_checked_and_no_others(pipelines: Path) -> None:
    (pipelines / "broken.toml").write_text("description =\n")

    assert validate(PIPELINES / "digits.toml").exit_code == 0
    missing = validate(pipelines / "missing.toml")
    assert missing.exit_code == 1
    assert "missing.toml: cannot be read: No such file or directory" in missing.stdout


def test_a_folder_without_files_is_an_error(pipelines: Path) -> None:
    ran = validate()

    assert ran.exit_code == 1
    assert_readable(ValueError(ran.stderr.strip()), pipelines, ".toml")
