"""The rights of the users of a local secured cluster: each user has those of its step, of every pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, get_args

from include.definition.rights import step_rights
from include.definition.tables import WorkStep
from include.local.broker.security import ALL_STEPS

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.rights import Right
    from include.local.broker import Cluster

TIMEOUT_S = 30.0


def grant_steps(cluster: Cluster, pipelines: Iterable[Pipeline]) -> None:
    """Grant each user the rights of its step of these pipelines, and one user those of all steps."""
    granted: dict[str, set[Right]] = {user: set() for user in (ALL_STEPS, *get_args(WorkStep))}
    for pipeline in pipelines:
        for step in get_args(WorkStep):
            rights = step_rights(pipeline, step)
            granted[step].update(rights)
            granted[ALL_STEPS].update(rights)
    grant(cluster.client_settings(), granted)


def grant(settings: Mapping[str, str], granted: Mapping[str, Iterable[Right]]) -> None:
    """Create ACLs.

    Args:
        settings: librdkafka's, of an administrator.
        granted: the rights of each user.
    """
    from confluent_kafka.admin import (
        AclBinding,
        AclOperation,
        AclPermissionType,
        AdminClient,
        ResourcePatternType,
        ResourceType,
    )

    wanted = [
        AclBinding(
            ResourceType[_constant(right.resource)],
            right.name,
            ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            AclOperation[_constant(right.operation)],
            AclPermissionType.ALLOW,
        )
        for user, rights in granted.items()
        for right in rights
    ]
    if wanted:
        with AdminClient(dict(settings)) as admin:
            for answer in admin.create_acls(wanted, request_timeout=TIMEOUT_S).values():
                answer.result(TIMEOUT_S)


def _constant(name: str) -> str:
    """How librdkafka's client spells a name of Kafka's: TRANSACTIONAL_ID."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()
