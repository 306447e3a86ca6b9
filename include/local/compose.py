"""The secrets of docker-compose.yaml as files: passwords, keys and certificates, each written once."""

import json
import os
import re
from collections.abc import Callable
from configparser import ConfigParser
from io import StringIO
from pathlib import Path
from secrets import token_bytes, token_urlsafe

from include.errors import PermanentError
from include.local.environment import CONNECTION

NODES = (1, 2, 3)
# The user of the Airflow image. The other images run as any user.
_IMAGE_USER = 50000
# The paths of the secrets in the containers.
_MOUNTED = "/run/secrets"


class IncompleteSecrets(PermanentError):
    """The secrets, or `.env`, are there in part: the rest would not fit them."""


def write_secrets(project: Path) -> list[Path]:
    """Write the files that are missing in `secrets/`, and `.env` where there is none; returns the new files.

    Files that must fit each other are a group, which is written as a whole. Every file gets mode 600 in a folder of
    mode 700, and the containers run as the files' owner: the caller, or the image's own user where root calls.

    Raises:
        IncompleteSecrets: a part of a group exists, or `.env` has another `MILLRACE_UID`.
    """
    folder = project / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = os.geteuid() or _IMAGE_USER
    example = (project / ".env.example").read_text(encoding="utf-8")
    written = _write_missing(project, {".env": example.replace("MILLRACE_UID=\n", f"MILLRACE_UID={owner}\n")}, owner)
    _check_owner(project / ".env", owner)
    for make_group in GROUPS:
        written += _write_missing(folder, make_group(), owner)
    if os.geteuid() == 0:
        os.chown(folder, owner, 0)
    return written


def _write_missing(folder: Path, group: dict[str, str], owner: int) -> list[Path]:
    missing = [folder / name for name in group if not (folder / name).exists()]
    if 0 < len(missing) < len(group):
        present = ", ".join(name for name in group if (folder / name).exists())
        raise IncompleteSecrets(
            f"{folder} lacks {missing[0].name}, which must fit {present}: delete {present} too, and run the command "
            "again to write all of them."
        )
    for path in missing:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, made with its mode
            file.write(group[path.name])
            if os.geteuid() == 0:
                os.fchown(descriptor, owner, 0)
    return missing


def _check_owner(file: Path, owner: int) -> None:
    found = re.findall(r"^MILLRACE_UID=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    if found != [str(owner)]:
        raise IncompleteSecrets(
            f"{file} has MILLRACE_UID={', '.join(found) or '(none)'}, and the secrets belong to user {owner}: write "
            f"MILLRACE_UID={owner} there, so that the containers can read them."
        )


def _certificates() -> dict[str, str]:
    """The authority's key is not stored: to renew one certificate is to renew all."""
    from include.local.certificates import make_authority

    authority = make_authority("Millrace compose")
    hosts = {f"kafka-{node}": [f"kafka-{node}", "localhost", "127.0.0.1"] for node in NODES}
    hosts["postgres"] = ["postgres"]
    return {"ca.crt": authority.pem, **{f"{name}.pem": authority.issue(name, hosts[name]) for name in hosts}}


def _kafka_brokers() -> dict[str, str]:
    """The login of the brokers to each other, and of the administrator's tools."""
    password = _new()
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="broker" password="{password}"'
    listeners = (f"listener.name.{name}.plain.sasl.jaas.config" for name in ("internal", "controller"))
    client = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": f"{login};",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": f"{_MOUNTED}/ca.crt",
    }
    return {
        "kafka-broker.properties": _properties(dict.fromkeys(listeners, f'{login} user_broker="{password}";')),
        "kafka-admin.properties": _properties(client),
    }


def _kafka_client() -> dict[str, str]:
    """The login of Airflow's tasks, as their connection, as one for this machine, and for the brokers."""
    password = _new()
    common = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "airflow",
        "sasl.password": password,
    }
    inside = {
        "bootstrap.servers": ",".join(f"kafka-{node}:9092" for node in NODES),
        "ssl.ca.location": f"{_MOUNTED}/ca.crt",
    }
    outside = {"bootstrap.servers": "localhost:29092", "ssl.ca.location": "secrets/ca.crt"}
    connections = {CONNECTION: {"conn_type": "kafka", "extra": {**inside, **common}}}
    return {
        "airflow-connections.json": json.dumps(connections, indent=2),
        "host-connection.json": json.dumps({"conn_type": "kafka", "extra": {**outside, **common}}, indent=2),
        "kafka-airflow.properties": _properties({"SCRAM-SHA-512": f"iterations=8192,password={password}"}),
    }


def _mlflow_login() -> dict[str, str]:
    login = {"username": "millrace", "password": _new()}
    server = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": "postgresql+psycopg2://mlflow@postgres:5432/mlflow_auth",
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        **{f"admin_{name}": value for name, value in login.items()},
    }
    client = {f"mlflow_tracking_{name}": value for name, value in login.items()}
    return {"mlflow-auth.ini": _ini(server), "mlflow-credentials": _ini(client)}


def _password_file(role: str) -> dict[str, str]:
    """A password file of libpq, with a role's password for every database."""
    return {f"{role}.pgpass": f"postgres:5432:*:{role}:{_new()}\n"}


# Fernet wants 32 bytes in URL-safe base64, and HS512, which Airflow signs with, a key of 64 bytes.
GROUPS: tuple[Callable[[], dict[str, str]], ...] = (
    _certificates,
    _kafka_brokers,
    _kafka_client,
    _mlflow_login,
    lambda: _password_file("airflow"),
    lambda: _password_file("mlflow"),
    lambda: {"postgres-password": _new()},
    lambda: {"airflow-admin.json": json.dumps({"admin": _new()})},
    lambda: {"airflow-fernet-key": f"{token_urlsafe(32)}="},
    lambda: {"airflow-jwt-secret": token_urlsafe(48)},
    lambda: {"airflow-api-secret-key": token_urlsafe(48)},
    lambda: {"mlflow-session-key": token_bytes(48).hex()},
)


def _new() -> str:
    """A password of letters, digits, `-` and `_`, which no file format and no shell changes."""
    return token_urlsafe(32)


def _properties(values: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _ini(values: dict[str, str]) -> str:
    parser = ConfigParser(interpolation=None)
    parser["mlflow"] = values
    text = StringIO()
    parser.write(text)
    return text.getvalue()
