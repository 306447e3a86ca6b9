"""Users of the secured broker, and certificates that its own authority has not signed."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization

from include.kafka.connection import KafkaConnection
from include.local.broker.security import ADMIN
from include.local.certificates import make_authority
from include.local.rights import grant

if TYPE_CHECKING:
    from include.kafka.rights import Right
    from include.local.broker import Cluster

PASSWORD = "a-password-of-tests"  # noqa: S105 - of users that tests create
# Enough for all tests.
USERS = tuple(f"user{number}" for number in range(100))
TIMEOUT_S = 20
PEM = serialization.Encoding.PEM

BROKER_PROPERTIES = {
    # Kafka makes two such files for each partition, by default of 10 MB, and a test reads all files.
    "log.index.size.max.bytes": 64 * 1024,
    # Users without a right, and the administrator, log in by PLAIN: it takes much less time than SCRAM's many rounds of
    # hashing.
    "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
    "listener.name.sasl_ssl.plain.sasl.jaas.config": " ".join(
        (
            "org.apache.kafka.common.security.plain.PlainLoginModule required",
            *(f'user_{user}="{PASSWORD}"' for user in (ADMIN, *USERS)),
            ";",
        )
    ),
}


def plain_connection(cluster: Cluster, user: str = ADMIN) -> KafkaConnection:
    """A connection to a cluster that is started with `BROKER_PROPERTIES`, by PLAIN."""
    login = {"sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password": PASSWORD}
    return KafkaConnection({**cluster.client_settings(), **login}, timeout_s=TIMEOUT_S)


class Users:
    """The users of a secured broker that is started with `BROKER_PROPERTIES`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._left = iter(USERS)

    def with_rights(self, rights: Sequence[Iterable[Right]]) -> list[KafkaConnection]:
        """For each of the rights a connection of a user who has them and no others."""
        granted = {next(self._left): user_rights for user_rights in rights}
        grant(plain_connection(self._cluster).settings, granted)
        return [plain_connection(self._cluster, user) for user in granted]


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, and that of the authority that signed it, as files."""

    authority: Path
    certificate: Path
    key: Path


def certificate(folder: Path, *, expired: bool = False, password: str | None = None) -> Certificate:
    """A certificate of 127.0.0.1 by an authority of its own.

    Args:
        password: that of its key; without one the key is not encrypted.
    """
    folder.mkdir()
    authority = make_authority(f"tests {folder.name}")
    text = authority.issue("tests", ["127.0.0.1"], lifetime=dt.timedelta(days=-1 if expired else 1)).encode()
    made = Certificate(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
    made.authority.write_text(authority.pem)
    made.certificate.write_bytes(text[text.index(b"-----BEGIN CERTIFICATE") :])
    key = serialization.load_pem_private_key(text, None)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    made.key.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption))
    return made


@contextmanager
def tls_server(presented: Certificate) -> Iterator[str]:
    """A server that presents a certificate and answers nothing; yields its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(presented.certificate, presented.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            # Closing the listener ends it.
            with suppress(OSError):
                while True:
                    accepted, _ = listener.accept()
                    with accepted, suppress(OSError), context.wrap_socket(accepted, server_side=True) as connection:
                        connection.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(TIMEOUT_S)
