"""Makes no DAG: shows every invalid pipeline file as one import error, while the valid ones go on."""

# Airflow looks only at files whose text has both "airflow" and "dag" in it, as this sentence does.

from __future__ import annotations

from include.definition.files import load_pipelines


class InvalidPipelines(Exception):
    """The message lists file, key, value and what is allowed."""


invalid = load_pipelines()[1]
if invalid:
    raise InvalidPipelines(
        "These pipeline files make no DAGs until they are corrected:\n" + "\n".join(map(str, invalid))
    )
