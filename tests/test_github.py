"""The files that GitHub, git and editors read follow their schemas, and name programs and targets that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from include.storage.state import PROJECT_ROOT

GITHUB = PROJECT_ROOT / ".github"
WORKFLOW: dict[str, Any] = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text(encoding="utf-8"))
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
SCHEMAS = {
    "workflows/ci.yml": "vendor.github-workflows",
    "dependabot.yml": "vendor.dependabot",
    "ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "ISSUE_TEMPLATE/bug.yml": "vendor.github-issue-forms",
    "ISSUE_TEMPLATE/feature.yml": "vendor.github-issue-forms",
}


@pytest.mark.parametrize(("file", "schema"), SCHEMAS.items())
def test_a_file_follows_its_schema(file: str, schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(GITHUB / file)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_actions_are_pinned_to_commits() -> None:
    """A tag can be moved to other code."""
    actions = [step["uses"] for step in STEPS if "uses" in step]
    assert actions
    assert [action for action in actions if not re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action)] == []


def test_the_workflow_may_only_read_and_ends_in_time() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all("permissions" not in job and job["timeout-minutes"] <= 60 for job in WORKFLOW["jobs"].values())


def test_the_hooks_run_programs_that_are_pinned() -> None:
    hooks = yaml.safe_load((PROJECT_ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    entries = [hook["entry"] for repository in hooks for hook in repository["hooks"]]
    pins = (PROJECT_ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    packages = {"lint-imports": "import-linter"}
    programs = re.findall(r"\.venv/bin/([a-z-]+)", " ".join(entries))
    assert len(programs) == len(entries)
    assert [name for name in programs if f"\n{packages.get(name, name)}==" not in pins] == []
