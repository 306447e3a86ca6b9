"""Checks of a connection's librdkafka settings: no code is loaded, and the files that they name can be read."""

import logging
import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from include.errors import PermanentError
from include.kafka.listener import addresses

log = logging.getLogger(__name__)

# Parts of the names of settings whose values are secrets.
SECRET_SETTINGS = ("password", "secret", "key.pem", "jaas", "token", "passphrase", "oauthbearer.config")
# They load a library into this process, or run a program: whoever edits a connection would run code on the workers.
CODE_SETTINGS = (
    "plugin.library.paths",
    "ssl.engine.location",
    "ssl.engine.id",
    "ssl.providers",
    "sasl.kerberos.kinit.cmd",
)
NESTED_SETTINGS = ("default.topic.config",)
# librdkafka's own error does not name the file.
FILE_SETTINGS = (
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
)
REQUIRE_TLS = "MILLRACE_REQUIRE_TLS"


class InvalidSettings(PermanentError):
    """The connection's settings for Kafka can't be used."""


def is_secret(name: str) -> bool:
    return any(part in name for part in SECRET_SETTINGS)


def refuse_code(settings: Mapping[str, Any]) -> None:
    """Refuse settings that load a library or run a program.

    Raises:
        InvalidSettings: naming the first one.
    """
    for name, value in settings.items():
        # librdkafka takes any setting in `default.topic.config`, where nothing here would find it.
        if name in NESTED_SETTINGS or isinstance(value, Mapping):
            raise InvalidSettings(
                f"The Kafka connection sets {name} to an object of settings, which is refused: give each of them by "
                "its own name in the Airflow connection."
            )
    for name in CODE_SETTINGS:
        if settings.get(name):
            raise InvalidSettings(
                f"The Kafka connection sets {name}, which loads or runs a program on the workers and is refused: "
                "remove it from the Airflow connection."
            )


def refuse_missing_files(settings: Mapping[str, Any]) -> None:
    """Refuse settings that name files which can't be read.

    Raises:
        InvalidSettings: naming the setting and the file.
    """
    for name in FILE_SETTINGS:
        path = settings.get(name)
        if not path or (name == "ssl.ca.location" and path == "probe") or Path(str(path)).is_dir():
            continue
        try:
            with Path(str(path)).open("rb"):
                pass
        except (OSError, ValueError) as error:
            raise InvalidSettings(
                f"The Kafka connection names the file {str(path)!r} as {name}, which can't be read "
                f"({getattr(error, 'strerror', error)}): "
                "correct the path in the Airflow connection, or the file's permissions."
            ) from error


def invalid_settings(error: Exception, text: str, settings: Mapping[str, Any]) -> InvalidSettings:
    """The error for settings that librdkafka refuses.

    Args:
        text: what librdkafka says; secrets in it are replaced.
    """
    for name, value in settings.items():
        if is_secret(name) and isinstance(value, str) and value:
            text = text.replace(value, "***")
    hint = "; ssl.key.password has to be the password of the key" if "ssl.key" in text else ""
    refused = InvalidSettings(
        f"No Kafka client can be made with the connection's settings ({' '.join(text.split())}{hint}): correct them in "
        "the Airflow connection."
    )
    refused.__cause__ = error
    return refused


def refuse_unprotected(settings: Mapping[str, Any]) -> None:
    """Refuse a connection that is not encrypted or not verified, where `MILLRACE_REQUIRE_TLS` is set.

    Who edits connections is not always who decides what may travel unencrypted.

    Raises:
        InvalidSettings: with the setting to correct.
    """
    required = os.environ.get(REQUIRE_TLS, "").lower() not in ("", "0", "false")
    if required and (fault := _unprotected(settings)) is not None:
        raise InvalidSettings(
            f"The Kafka connection {fault[0]} and {REQUIRE_TLS} is set: {fault[1]} in the Airflow connection."
        )


def warn_if_unprotected(settings: Mapping[str, Any]) -> None:
    """Log a warning where the broker's certificate or its host name is not checked, or where nothing is encrypted.

    On this machine's own interface nobody else reads along.
    """
    servers = list(addresses(str(settings.get("bootstrap.servers", ""))))
    local = bool(servers) and all(_is_loopback(host) for host, _ in servers)
    if (fault := _unprotected(settings)) is not None and (_is_encrypted(settings) or not local):
        log.warning(
            "The Kafka connection %s: whoever is between this machine and the broker can read and change "
            "everything; %s.",
            *fault,
        )


def _unprotected(settings: Mapping[str, Any]) -> tuple[str, str] | None:
    """What leaves the connection open, and what corrects it."""
    if not _is_encrypted(settings):
        protocol = str(settings.get("security.protocol", "PLAINTEXT")).upper()
        return f"has security.protocol={protocol}", "set it to SSL or SASL_SSL"
    if str(settings.get("enable.ssl.certificate.verification", "true")).lower() in ("false", "0"):
        return "sets enable.ssl.certificate.verification=false", "remove the setting"
    if str(settings.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        return "sets ssl.endpoint.identification.algorithm=none", "remove the setting"
    return None


def _is_encrypted(settings: Mapping[str, Any]) -> bool:
    return str(settings.get("security.protocol", "")).lower().endswith("ssl")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
