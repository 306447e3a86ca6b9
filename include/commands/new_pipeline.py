"""`millrace new-pipeline`: writes a pipeline's file after a survey of the data."""

from __future__ import annotations

import os
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from include.commands.audio_survey import survey_sound_folder
from include.commands.console import exit_on_error, say
from include.commands.image_format import NoPipelineFits
from include.commands.pipeline_file import pipeline_text, records_of
from include.commands.survey import columns_of, survey_folder, survey_table
from include.commands.text_survey import survey_text_folder, survey_text_table
from include.definition.files import InvalidPipeline, pipelines_folder, read_pipeline
from include.definition.kinds import KINDS
from include.definition.pipeline import NAME
from include.definition.schema import SCHEMA_FILE

if TYPE_CHECKING:
    from include.commands.survey import Survey

SHOWN = 5


class Place(StrEnum):
    """Where samples are."""

    FOLDER = "folder"
    TABLE = "table"


class Modality(StrEnum):
    """What samples are."""

    IMAGE = "image"
    AUDIO = "audio"
    TEXT = "text"
    ARRAY = "array"


FOLDERS = {Modality.IMAGE: survey_folder, Modality.AUDIO: survey_sound_folder, Modality.TEXT: survey_text_folder}
TABLES = {Modality.IMAGE: survey_table, Modality.TEXT: survey_text_table}


def new_pipeline(
    name: Annotated[str, typer.Argument(help="The pipeline's name: small letters, digits and _.")],
    path: Annotated[str, typer.Option(help="Where the data are: a folder, a table, or a URL that fsspec knows.")],
    source: Annotated[
        Place, typer.Option(help="A folder with one folder a class, or a table (CSV, JSONL, Parquet).")
    ] = Place.FOLDER,
    modality: Annotated[Modality, typer.Option(help="What the samples are.")] = Modality.IMAGE,
    content: Annotated[
        str | None,
        typer.Option(
            help="A table's column of the samples: text; or of images bytes, base64, or a path beside it.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="A table's column of the class.", show_default=False)] = None,
    sample_id: Annotated[
        str | None, typer.Option("--id", help="A table's column of a unique id.", show_default=False)
    ] = None,
) -> None:
    """Survey data, write a pipeline file for them, and print what to do next; nothing is overwritten."""
    with exit_on_error():
        file = _new_file(name)
        _refuse_without_network(modality)
        if source is Place.FOLDER:
            _refuse_columns(content, label, sample_id)
            found = FOLDERS[modality](path)
        else:
            found = _survey_table(modality, path, content, label, sample_id)
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
            "write the pipeline's file with it by hand."
        )


def _refuse_columns(*columns: str | None) -> None:
    if any(column is not None for column in columns):
        raise NoPipelineFits("A folder has no columns: leave out --content, --label and --id, or use --source table.")


def _survey_table(
    modality: Modality, path: str, content: str | None, label: str | None, sample_id: str | None
) -> Survey:
    if modality not in TABLES:
        raise NoPipelineFits(
            f"Tables of {modality.value} are not supported: give a folder with one folder a class, or write the "
            "pipeline's file by hand."
        )
    if content is None or label is None:
        raise NoPipelineFits(
            f"Table {path} has the columns {', '.join(map(repr, columns_of(path))) or 'none'}: name that of the "
            f"{modality.value}s with --content and that of the class with --label."
        )
    return TABLES[modality](path, content=content, label=label, sample_id=sample_id)


def _write(file: Path, text: str) -> None:
    """Write the file only if it is valid, so that a DAG processor never sees an invalid one."""
    with tempfile.TemporaryDirectory() as aside:
        draft = Path(aside) / file.name
        draft.write_text(text, encoding="utf-8")
        if isinstance(read := read_pipeline(draft), InvalidPipeline):
            raise NoPipelineFits(
                f"These data make no valid pipeline ({'; '.join(read.faults)}): correct them, or write it by hand."
            )
    try:
        with file.open("x", encoding="utf-8") as output:
            output.write(text)
    except FileExistsError as error:
        raise _taken(file) from error
    except OSError as error:
        raise NoPipelineFits(f"{file} can't be written ({error.strerror}): give this user the right to.") from error


def _say_what_was_found(found: Survey) -> None:
    labels = sorted(found.labels.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{label!r} {count:,}" for label, count in labels[:SHOWN])
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    say(
        f"Found {found.samples:,} {found.noun}s of {len(labels)} classes ({shown}{more}): {found.codec.kind}, "
        f"{found.form}; {found.opened:,} opened."
    )
    for note in found.notes:
        say(note)
    if found.unlabelled:
        say(f"{found.unlabelled:,} rows have no label: they can be predicted but not trained on.")
    if found.left_out:
        kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(found.left_out.items()))
        say(f"Files that are not {found.noun}s of this format are left out: {kinds}.")
    for sentence in found.unfit[:SHOWN]:
        say(f"Would be left out of a batch: {sentence}")
    if len(found.unfit) > SHOWN:
        say(f"... and {len(found.unfit) - SHOWN} more.")


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
            f"     The other {left:,} come in {batches:,} more batch{'es' * (batches > 1)}, one an hour by the "
            f"schedule, so in {batches:,} hour{'s' * (batches > 1)}; trigger the DAG again to be faster."
        )
    say(f"  4. Look at what arrived: `millrace peek {name} --topic samples`.")
