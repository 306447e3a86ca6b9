"""`millrace new-pipeline` as a person runs it: the file that it writes, or its refusal."""

from __future__ import annotations

from typer.testing import CliRunner

from include.__main__ import app
from include.definition.files import read_pipeline
from include.definition.pipeline import Pipeline
from tests.support.assertions import assert_readable


def run_new_pipeline(*arguments):
    return CliRunner().invoke(app, ["new-pipeline", *arguments])


def written_pipeline(pipelines, *arguments, name="flowers"):
    """Run the command; the pipeline of the file that it wrote, and its output."""
    ran = run_new_pipeline(name, *arguments)
    assert ran.exit_code == 0, ran.output
    pipeline = read_pipeline(pipelines / f"{name}.toml")
    assert isinstance(pipeline, Pipeline), pipeline
    return pipeline, ran.output


def assert_refused(pipelines, *arguments, names, name="flowers"):
    before = sorted(pipelines.iterdir()) if pipelines.is_dir() else []
    ran = run_new_pipeline(name, *arguments)
    assert ran.exit_code == 1, ran.output
    assert_readable(ValueError(ran.stderr.strip()), *names)
    assert ran.stdout == ""
    assert sorted(pipelines.iterdir() if pipelines.is_dir() else []) == before
