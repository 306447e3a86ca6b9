"""`millrace validate`: every fault of pipeline files, each with its file and line."""

import os
from pathlib import Path
from typing import Annotated

import typer

from include.commands.console import FAILED, CommandRefused, exit_on_error, say
from include.definition.files import InvalidPipeline, pipelines_folder, read_pipeline
from include.definition.toml_lines import line_of


def validate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...", help="Pipeline files; by default all of the pipelines folder.", show_default=False
        ),
    ] = None,
) -> None:
    """Print every fault as file:line: fault; exit status 0: all files are valid, 1: some are not."""
    with exit_on_error():
        paths = files or sorted(pipelines_folder().glob("*.toml"))
        if not paths:
            raise CommandRefused(
                f"The pipelines folder {pipelines_folder()} has no .toml file: write one with `millrace new-pipeline`, "
                "or correct MILLRACE_PIPELINES."
            )
    invalid = [item for item in map(read_pipeline, paths) if isinstance(item, InvalidPipeline)]
    for item in invalid:
        for fault in item.faults:
            typer.echo(f"{_place(item.path, fault)}: {fault}")
    say(f"{len(paths) - len(invalid)} of {len(paths)} pipeline files are valid.")
    if invalid:
        raise typer.Exit(FAILED)


def _place(path: Path, fault: str) -> str:
    """`include/pipelines/digits.toml:31`, or only the file where the fault has no line."""
    shown = os.path.relpath(path)
    try:
        line = line_of(path.read_text(encoding="utf-8"), fault)
    except (OSError, UnicodeDecodeError):
        line = None
    return shown if line is None else f"{shown}:{line}"
