"""What other programs and stored state depend on, to the byte.

Ids, keys, codes, names and layouts that are compared here are read by other applications, or were written by earlier
releases and are read again after an upgrade. A change of one of them needs a migration, or a word in CHANGELOG.md, and
then new expected files:

    GOLDEN=write python -m pytest tests/golden

The pipelines of this folder run once on the real broker, and the texts are read from what they left behind. What
differs from run to run has a placeholder in angle brackets: topic ids, times, what was learnt, versions of libraries,
and sentences for people.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.refusal import REASONS
from include.storage.state import PROJECT_ROOT
from tests.golden.flow import record_flow

if TYPE_CHECKING:
    from include.local.broker import Cluster

# Its fixture imports Airflow, MLflow and torch, which takes minutes where many others import at the same time.
pytestmark = pytest.mark.timeout(900)

EXPECTED = Path(__file__).parent / "expected"
SUBJECTS = (
    "identifiers",
    "ledger",
    "records",
    "tasks",
    "jobs",
    "checkpoints",
    "results",
    "registry",
    "export",
)
MEANING = """\
{path} differs from what the code writes now.
Other programs read these bytes, or state from before an upgrade holds them: they would break, or not be found again.
If that is not meant, correct the code. If it is, write a migration, or in CHANGELOG.md what users have to do; then
write the file anew with GOLDEN=write python -m pytest tests/golden, and commit it with that.

{difference}"""


def assert_golden(subject: str, text: str) -> None:
    """Compare with the expected file, or write it where the environment asks for that."""
    path = EXPECTED / f"{subject}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return
    expected = path.read_text()
    if text != expected:
        lines = difflib.unified_diff(expected.splitlines(), text.splitlines(), "expected", "now", lineterm="")
        pytest.fail(MEANING.format(path=path.relative_to(PROJECT_ROOT), difference="\n".join(lines)), pytrace=False)


@pytest.fixture(scope="module")
def recorded(broker: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return record_flow(broker, tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_what_others_depend_on_is_as_it_was(recorded: dict[str, str], subject: str) -> None:
    assert_golden(subject, recorded[subject])


def test_reason_codes_are_as_they_were() -> None:
    """Other programs compare them."""
    assert_golden("reason-codes", "".join(f"{code}\n" for code in sorted(REASONS)))
