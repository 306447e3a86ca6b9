"""`millrace schema`: what an editor checks a pipeline's file with."""

import typer

from include.definition.schema import pipeline_schema


def schema() -> None:
    """Print the JSON Schema of a pipeline's file, your own kinds included.

    After adding a kind: millrace schema > include/pipelines/pipeline.schema.json
    """
    typer.echo(pipeline_schema(), nl=False)
