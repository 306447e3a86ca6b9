"""The files that GitHub, git and editors read follow their schemas, and name programs and targets that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from include.storage.state import PROJECT_ROOT
from tests.support.json_schemas import assert_follows

GITHUB = PROJECT_ROOT / ".github"
WORKFLOWS: list[dict[str, Any]] = [
    yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((GITHUB / "workflows").iterdir())
]
STEPS = [step for workflow in WORKFLOWS for job in workflow["jobs"].values() for step in job["steps"]]
SCHEMAS = {
    "workflows/advisories.yml": "vendor.github-workflows",
    "workflows/ci.yml": "vendor.github-workflows",
    "dependabot.yml": "vendor.dependabot",
    "ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "ISSUE_TEMPLATE/bug.yml": "vendor.github-issue-forms",
    "ISSUE_TEMPLATE/feature.yml": "vendor.github-issue-forms",
}


@pytest.mark.parametrize(("file", "schema"), SCHEMAS.items())
def test_a_file_follows_its_schema(file: str, schema: str) -> None:
    assert_follows(schema, GITHUB / file)


def test_actions_are_pinned_to_commits() -> None:
    """A tag can be moved to other code."""
    actions = [step["uses"] for step in STEPS if "uses" in step]
    assert actions
    assert [action for action in actions if not re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow["name"])
def test_a_workflow_may_only_read_and_ends_in_time(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert all("permissions" not in job and job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())


def test_the_workflows_run_targets_of_the_makefile() -> None:
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [step["run"].removeprefix("make ") for step in STEPS if step.get("run", "").startswith("make ")]
    assert len(targets) >= 4
    assert [target for target in targets if f"\n{target}:" not in makefile] == []


def test_the_hooks_run_programs_that_are_pinned() -> None:
    hooks = yaml.safe_load((PROJECT_ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    entries = [hook["entry"] for repository in hooks for hook in repository["hooks"]]
    pins = (PROJECT_ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    packages = {"lint-imports": "import-linter"}
    programs = re.findall(r"\.venv/bin/([a-z-]+)", " ".join(entries))
    assert len(programs) == len(entries)
    assert [name for name in programs if f"\n{packages.get(name, name)}==" not in pins] == []
