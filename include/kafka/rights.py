"""A right on a Kafka cluster: an operation on a resource, and the command that grants it."""

import shlex
from dataclasses import dataclass
from typing import Literal

Operation = Literal["Read", "Write", "Create", "Delete", "Alter", "Describe", "DescribeConfigs", "AlterConfigs"]
# As Kafka spells them; by the option of `kafka-acls` that names one.
Resource = Literal["Topic", "Group", "TransactionalId", "Cluster"]
OPTIONS: dict[Resource, str] = {
    "Topic": "--topic",
    "Group": "--group",
    "TransactionalId": "--transactional-id",
    "Cluster": "--cluster",
}


@dataclass(frozen=True)
class Right:
    """An operation on a resource, or with `prefixed` on all whose names begin with `name`.

    Read and Write imply Describe.
    """

    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False

    def __str__(self) -> str:
        return f"{self.operation} on {self.resource} {self.name}{'*' if self.prefixed else ''}"


def grant_command(principal: str, rights: list[Right], *options: str) -> str:
    """The `kafka-acls` command that grants rights on one resource.

    Args:
        principal: with its type, `User:ingest`.
        rights: all on the same resource.
        options: those that say how the command reaches the cluster.
    """
    resource = rights[0]
    name = [] if resource.resource == "Cluster" else [resource.name]
    return shlex.join(
        [
            "kafka-acls",
            *options,
            "--add",
            "--allow-principal",
            principal,
            *(part for right in rights for part in ("--operation", right.operation)),
            OPTIONS[resource.resource],
            *name,
            *(["--resource-pattern-type", "prefixed"] if resource.prefixed else []),
        ]
    )
