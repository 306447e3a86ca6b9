"""Makes no DAG: shows all invalid pipeline files as one import error, without affecting the valid ones."""

# Airflow parses only files whose text contains "airflow" and "dag", as this comment does.

from __future__ import annotations

from include.definition.files import load_pipelines


class InvalidPipelines(Exception):
    """The message lists each fault with file, key, value and what is allowed."""


invalid = load_pipelines()[1]
if invalid:
    raise InvalidPipelines(
        "These pipeline files make no DAGs until they are corrected:\n" + "\n".join(map(str, invalid))
    )
