"""`millrace new-pipeline`: writes a pipeline's file after a survey of the data."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from pydantic import ValidationError

from include.commands.audio_survey import survey_sound_folder, survey_sound_table
from include.commands.console import exit_on_error, say
from include.commands.image_format import NoPipelineFits
from include.commands.image_table import survey_image_table
from include.commands.pipeline_file import pipeline_text, records_of
from include.commands.row_survey import survey_row_table
from include.commands.survey import survey_folder
from include.commands.table_survey import TableRequest, survey_rows
from include.commands.text_survey import survey_text_folder, survey_text_table
from include.definition.files import InvalidPipeline, pipelines_folder, read_pipeline
from include.definition.kinds import KINDS
from include.definition.pipeline import NAME
from include.definition.schema import SCHEMA_FILE
from include.errors import amount
from include.sources.table import TableSource
from include.storage.atomic import explained_if_full

if TYPE_CHECKING:
    from include.commands.survey import Survey

SHOWN = 5
FOUND = "found in the table"


class SourceKind(StrEnum):
    """Where samples are."""

    FOLDER = "folder"
    TABLE = "table"


class Modality(StrEnum):
    """What samples are."""

    IMAGE = "image"
    AUDIO = "audio"
    TEXT = "text"
    ARRAY = "array"
    ROWS = "rows"


class Task(StrEnum):
    """What is learnt of a table's labels."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


FOLDERS = {Modality.IMAGE: survey_folder, Modality.AUDIO: survey_sound_folder, Modality.TEXT: survey_text_folder}
TABLES = {
    Modality.IMAGE: survey_image_table,
    Modality.AUDIO: survey_sound_table,
    Modality.TEXT: survey_text_table,
    Modality.ROWS: survey_row_table,
}


# What a sample is called; the column of rows has no name, because all columns are their content.
NOUNS = {Modality.AUDIO: "sound", Modality.ROWS: None}


def new_pipeline(
    name: Annotated[str, typer.Argument(help="The pipeline's name: small letters, digits and _.")],
    path: Annotated[str, typer.Option(help="Where the data are: a folder, a table, or a URL that fsspec knows.")],
    source: Annotated[
        SourceKind, typer.Option(help="A folder with one folder a class, or a table (CSV, JSONL, Parquet).")
    ] = SourceKind.FOLDER,
    modality: Annotated[Modality, typer.Option(help="What the samples are.")] = Modality.IMAGE,
    content: Annotated[
        list[str] | None,
        typer.Option(
            help="A table's column of the samples: text; or of images and sounds bytes, base64, or a path beside it; "
            "or several times, or as a pattern such as 'pixel*', columns of pixels; for rows columns, with commas "
            "between them, if not all.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="A table's column of the class, or of the number.", show_default=False)
    ] = None,
    sample_id: Annotated[
        str | None, typer.Option("--id", help="A table's column of a unique id.", show_default=False)
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="A table's column of what samples have in common, a person for example; '' for none.",
            show_default="found by its values",
        ),
    ] = None,
    task: Annotated[
        Task | None,
        typer.Option(
            help="Whether a table's labels are classes, or numbers to estimate.", show_default="found by the labels"
        ),
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option(help="Where the files are that a table's column names.", show_default="found beside the table"),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Between the cells of CSV; \\t for a tab.", show_default=FOUND)
    ] = None,
    quote: Annotated[str | None, typer.Option(help="Around the cells of CSV; '' for none.", show_default=FOUND)] = None,
    escape: Annotated[
        str | None, typer.Option(help="Before a quote or delimiter in a cell of CSV.", show_default=FOUND)
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of CSV and JSONL, by Python's name.", show_default=FOUND)
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header", help="Whether the first line of CSV names the columns.", show_default=FOUND
        ),
    ] = None,
) -> None:
    """Survey data, write a pipeline file for them, and print what to do next; nothing is overwritten."""
    dialect = {
        "delimiter": delimiter,
        "quote": quote,
        "escape": escape,
        "encoding": encoding,
        "header": header,
    }
    with exit_on_error():
        file = _new_file(name)
        _refuse_without_network(modality)
        if source is SourceKind.FOLDER:
            _refuse_rows(modality)
            _refuse_table_options(content, label, sample_id, group, task, folder, *dialect.values())
            found = FOLDERS[modality](path)
        else:
            request = TableRequest(
                path,
                tuple(content or ()),
                label,
                sample_id,
                group,
                folder,
                None if task is None else task.value,
                _given(dialect),
            )
            found = TABLES[modality](survey_rows(request, NOUNS.get(modality, modality.value)))
        _write(file, pipeline_text(found, _schema_from(file.parent)))
    _say_what_was_found(found)
    _say_what_is_next(name, file, found)
    typer.echo(file)


def _new_file(name: str) -> Path:
    if not NAME.fullmatch(name):
        raise NoPipelineFits(
            f"The name {name!r} can't be a pipeline's: take small letters, digits and _, a letter first, 63 at most."
        )
    folder = pipelines_folder()
    if not folder.is_dir():
        raise NoPipelineFits(f"The pipelines folder {folder} does not exist: make it, or correct MILLRACE_PIPELINES.")
    file = folder / f"{name}.toml"
    if file.exists():
        raise _taken(file)
    return file


def _schema_from(folder: Path) -> str:
    relative = os.path.relpath(SCHEMA_FILE, folder)
    return relative if relative.startswith("..") else f"./{relative}"


def _taken(file: Path) -> NoPipelineFits:
    return NoPipelineFits(f"There is a pipeline {file.stem!r} already, {file}: take another name, or remove that file.")


def _refuse_without_network(modality: Modality) -> None:
    if modality is Modality.ARRAY:
        raise NoPipelineFits(
            f"No bundled network takes the modality {modality.value}, the [model] kinds are "
            f"{', '.join(sorted(KINDS['model']))}: add one as a file in include/models, as CONTRIBUTING.md says, and "
            "write the pipeline's file with it by hand. For a table with columns of numbers take --modality rows."
        )


def _refuse_rows(modality: Modality) -> None:
    if modality is Modality.ROWS:
        raise NoPipelineFits("Rows are in a table: add --source table, and the column of the class with --label.")


def _refuse_table_options(*options: object) -> None:
    if any(option is not None for option in options):
        raise NoPipelineFits(
            "A folder has no columns: leave out the options of a table (--content, --label, --id, --group, "
            "--task, --folder, --delimiter, --quote, --escape, --encoding, --header), or use --source table."
        )


def _given(dialect: dict[str, Any]) -> dict[str, Any]:
    """The settings that the command line names, checked as those of a `[source]` table."""
    given = {key: value for key, value in dialect.items() if value is not None}
    if given.get("delimiter") == "\\t":
        given["delimiter"] = "\t"
    try:
        TableSource.model_validate({"path": "any", "content": "any", **given})
    except ValidationError as error:
        fault = error.errors()[0]
        raise NoPipelineFits(
            f"Option --{fault['loc'][0]} {fault['input']!r} is not possible "
            f"({fault['msg'].removeprefix('Value error, ')}): correct the option, or leave it out."
        ) from error
    return given


def _write(file: Path, text: str) -> None:
    """Write the file only if it is valid, so that a DAG processor never sees an invalid one.

    Raises:
        NoPipelineFits: it is not valid, or is there already, or can't be written.
        DiskFull: there is no room for it.
    """
    content = text.encode()
    with tempfile.TemporaryDirectory() as aside:
        draft = Path(aside) / file.name
        with explained_if_full(draft, size=len(content)):
            draft.write_bytes(content)
        if isinstance(read := read_pipeline(draft), InvalidPipeline):
            raise NoPipelineFits(
                f"These data make no valid pipeline ({'; '.join(read.faults)}): correct them, or write it by hand."
            )
    try:
        with explained_if_full(file, size=len(content)), _made_whole(file) as output:
            output.write(content)
    except FileExistsError as error:
        raise _taken(file) from error
    except OSError as error:
        remedy = "give this user the right to" if isinstance(error, PermissionError) else "correct that"
        raise NoPipelineFits(
            f"The file {file} can't be written ({error.strerror}): {remedy}, and try again."
        ) from error


@contextmanager
def _made_whole(file: Path) -> Iterator[BinaryIO]:
    """Make a file that is not there yet; a block that raises leaves none, which the next try would take for a pipeline.

    Raises:
        FileExistsError: it is there, and is kept as it is.
    """
    with file.open("xb") as output:
        try:
            yield output
            # Only now some file systems say that they are full.
            output.flush()
            os.fsync(output.fileno())
        except BaseException:
            file.unlink(missing_ok=True)
            raise


def _say_what_was_found(found: Survey) -> None:
    labels = sorted(found.labels.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{label!r} {count:,}" for label, count in labels[:SHOWN])
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    classes = f" ({shown}{more})" if labels else ""
    say(
        f"Found {found.samples:,} {found.noun}s of {found.kinds_of_labels}{classes}: {found.codec.kind}, "
        f"{found.form}; {found.opened:,} opened."
    )
    for note in found.notes:
        say(note)
    if alike := _alike(found.labels):
        say(f"The classes {'; '.join(alike[:SHOWN])} differ in blanks or case only: rename them if they are one.")
    if found.unlabelled:
        say(f"{amount(found.unlabelled, 'row has', 'rows have')} no label, and can be predicted but not trained on.")
    if found.left_out:
        kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(found.left_out.items()))
        say(f"Files that are not {found.noun}s of this format are left out: {kinds}.")
    for sentence in found.unfit[:SHOWN]:
        say(f"Would be left out of a batch: {sentence}")
    if len(found.unfit) > SHOWN:
        say(f"... and {len(found.unfit) - SHOWN} more.")


def _alike(labels: Iterable[str]) -> list[str]:
    names: dict[str, list[str]] = {}
    for label in labels:
        names.setdefault(" ".join(label.split()).casefold(), []).append(label)
    return [" and ".join(map(repr, same)) for same in names.values() if len(same) > 1]


def _part(first: int, samples: int) -> str:
    return f"all {samples:,} samples" if first == samples else f"the first {first:,} of {samples:,} samples"


def _say_what_is_next(name: str, file: Path, found: Survey) -> None:
    say(f"Wrote {file}. Next:")
    say("  1. Read it: the settings that you may want to change have comments.")
    say(f"  2. Start Airflow (`make up`): {name}.ingest, {name}.train, {name}.predict and {name}.replay appear in it.")
    first = min(records_of(found.samples), found.samples)
    say(
        f"  3. Unpause the first three and trigger {name}.ingest: it sends {_part(first, found.samples)}; train and "
        "predict follow by themselves."
    )
    if first < found.samples:
        left = found.samples - first
        batches = -(-left // first)
        say(
            f"     The other {left:,} come in {amount(batches, 'more batch', 'more batches')}, one an hour by the "
            f"schedule, so in {amount(batches, 'hour')}; trigger the DAG again to be faster."
        )
    say(f"  4. Look at what arrived: `millrace peek {name} --topic samples`.")
