"""Files are compared with the schemas that check-jsonschema has, in this process: another would import it anew."""

from __future__ import annotations

from pathlib import Path

from check_jsonschema import main
from click.testing import CliRunner


def assert_follows(schema: str, file: Path) -> None:
    """AssertionError with the faults of a file that does not follow one of check-jsonschema's own schemas."""
    checked = CliRunner().invoke(main, ["--builtin-schema", schema, str(file)])
    assert checked.exit_code == 0, checked.output
