"""The environment: the name that separates installations on one Kafka cluster."""

import os
import re

from include.errors import PermanentError

# The default: its topics, its ledger and the groups with fixed names have no prefix.
LOCAL = "local"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# The ledger of `local` and groups with fixed names begin with it, and would be covered by a right on its prefix.
RESERVED = "millrace"


class InvalidEnvironment(PermanentError):
    """`MILLRACE_ENVIRONMENT` can't be part of a topic's name."""


def current_environment() -> str:
    """The environment of this process: `MILLRACE_ENVIRONMENT`, or `local`.

    Raises:
        InvalidEnvironment: the variable has a character that names of topics can't have, or a dot, which divides them.
    """
    name = os.environ.get("MILLRACE_ENVIRONMENT") or LOCAL
    if name == RESERVED:
        raise InvalidEnvironment(
            f"MILLRACE_ENVIRONMENT = {name!r} is what names in the environment {LOCAL} begin with: use another name."
        )
    if not NAME.fullmatch(name):
        raise InvalidEnvironment(
            f"MILLRACE_ENVIRONMENT = {name!r} can't be part of a topic's name: use 1 to 64 letters, digits, - and _."
        )
    return name


def in_environment(environment: str, name: str) -> str:
    """The name of a topic or a group in an environment: `name` itself in `local`, else `<environment>.<name>`."""
    return name if environment == LOCAL else f"{environment}.{name}"
