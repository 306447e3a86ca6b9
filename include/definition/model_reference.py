"""How a pipeline's file names a model version, or a file of weights in its place."""

import re
from typing import Annotated

from pydantic import AfterValidator

VERSION = re.compile(r"(?:(?P<name>[a-z][a-z0-9_]*)/)?(?P<number>champion|[1-9][0-9]{0,9})")
CHAMPION = "champion"
CHALLENGER = "challenger"
SUFFIX = ".safetensors"


def _version_or_file(value: str) -> str:
    if not VERSION.fullmatch(value) and not value.endswith(SUFFIX):
        raise ValueError(f'a start is "champion", "3", "other_pipeline/3" or the path of a {SUFFIX} file')
    return value


StartName = Annotated[str, AfterValidator(_version_or_file)]
