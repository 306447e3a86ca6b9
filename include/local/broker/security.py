"""What a secured cluster needs: certificates, users with passwords, and the settings of its nodes and clients.

Clients log in by SCRAM-SHA-512 over TLS and have the rights that an ACL grants, and no others. The controllers know
each other by the cluster's certificate. All secrets are in files of mode 600, and none is an argument of a process.
"""

import datetime as dt
import json
import os
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from include.definition.tables import WorkStep
from include.local.ports import LOOPBACK
from include.storage.atomic import whole_directory

MECHANISM = "SCRAM-SHA-512"
# Creates users and ACLs; no pipeline uses it.
ADMIN = "admin"
# Has the rights of all steps, for pipelines that name one connection.
ALL_STEPS = "pipelines"
USERS = (ADMIN, ALL_STEPS, *get_args(WorkStep))

_COMMON_NAME = "millrace-broker"
# The key of the authority is not kept, so that no certificate can be renewed; everything is reachable from this machine
# only.
_VALID = dt.timedelta(days=3650)
_LOGIN_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True)
class Security:
    """The folder with the secrets of a secured cluster (absolute)."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that clients trust."""
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The nodes' certificate and its private key."""
        return self.folder / "broker.pem"

    @property
    def passwords_file(self) -> Path:
        """JSON object of user name to password."""
        return self.folder / "passwords.json"

    @property
    def connections_file(self) -> Path:
        """For a shell: an Airflow connection of each user as a variable."""
        return self.folder / "connections.env"

    @property
    def admin_file(self) -> Path:
        """The administrator's login for Kafka's own tools, their `--command-config`."""
        return self.folder / "admin.properties"

    def create(self) -> None:
        """Make the certificates and passwords unless there are some; a killed call leaves none."""
        from include.local.certificates import make_authority

        if self.folder.is_dir():
            return
        with whole_directory(self.folder) as aside:
            aside.chmod(0o700)
            made = Security(aside)
            authority = make_authority("millrace-ca", lifetime=_VALID)
            write_secret(made.authority, authority.pem)
            write_secret(made.certificate, authority.issue(_COMMON_NAME, [LOOPBACK], lifetime=_VALID))
            passwords = {user: secrets.token_urlsafe(24) for user in USERS}
            write_secret(made.passwords_file, json.dumps(passwords, indent=2) + "\n")

    def passwords(self) -> dict[str, str]:
        """Every user's password."""
        found: dict[str, str] = json.loads(self.passwords_file.read_bytes())
        return found

    def client(self, user: str) -> dict[str, str]:
        """librdkafka's settings of a user, all but `bootstrap.servers`.

        A step that is newer than the cluster has no user of its own, and logs in as `ALL_STEPS`.
        """
        passwords = self.passwords()
        known = user if user in passwords else ALL_STEPS
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.authority),
            "sasl.mechanism": MECHANISM,
            "sasl.username": known,
            "sasl.password": passwords[known],
        }

    def write_client_files(self, bootstrap_servers: str) -> None:
        """Write the files by which people and Kafka's own tools log in; the address changes with the ports."""
        lines = []
        for user in USERS:
            settings = {"bootstrap.servers": bootstrap_servers, **self.client(user)}
            value = json.dumps({"conn_type": "kafka", "extra": settings})
            lines.append(f"export AIRFLOW_CONN_{connection_name(user).upper()}={shlex.quote(value)}\n")
        write_secret(self.connections_file, "".join(lines))
        admin = {
            "bootstrap.servers": bootstrap_servers,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.jaas.config": self._admin_login(),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority),
        }
        write_secret(self.admin_file, "".join(f"{name}={value}\n" for name, value in admin.items()))

    def _admin_login(self) -> str:
        return f'{_LOGIN_MODULE} required username="{ADMIN}" password="{self.passwords()[ADMIN]}";'

    def node_properties(self) -> dict[str, str]:
        """The settings of every node."""
        return {
            "sasl.enabled.mechanisms": MECHANISM,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            f"listener.name.sasl_ssl.{MECHANISM.lower()}.sasl.jaas.config": self._admin_login(),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificate),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority),
            "listener.name.controller.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{ADMIN};User:CN={_COMMON_NAME}",
        }

    def format_arguments(self) -> list[str]:
        """Arguments of Kafka's storage tool that create the users, for a file of arguments and no command line."""
        return [
            argument
            for user, password in self.passwords().items()
            for argument in ("--add-scram", f"{MECHANISM}=[name={user},password={password}]")
        ]


def connection_name(user: str) -> str:
    """The Airflow connection with a user's login."""
    return f"kafka_{user}"


STEP_CONNECTIONS = tuple(connection_name(step) for step in get_args(WorkStep))


def write_secret(path: Path, text: str) -> None:
    """Write a file that only this user can read, at no moment with another mode."""
    aside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as output:  # noqa: PTH123 - a descriptor, made with its mode
            output.write(text)
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)


def secure_properties(security: Security | None) -> Mapping[str, str]:
    """The settings of a node, empty for a cluster without login."""
    return {} if security is None else security.node_properties()
