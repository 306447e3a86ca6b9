"""What a broker's listener speaks: librdkafka sees only a closed connection where its own protocol is another one."""

import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 1.0
_SASL_HANDSHAKE = 17
_ILLEGAL_SASL_STATE = 34
_LARGEST_ANSWER = 10_000


@dataclass(frozen=True)
class Listener:
    """A listener of a broker, as a client without a login sees it.

    Attributes:
        protocols: Kafka's names for what it may speak. There are two where it wants a client's certificate before it
            answers anything.
        mechanisms: the SASL mechanisms that it takes.
    """

    protocols: tuple[str, ...]
    mechanisms: tuple[str, ...] = ()


def addresses(bootstrap_servers: str) -> Iterator[tuple[str, int]]:
    """Host and port of each bootstrap server that has both."""
    for server in bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition("://")[2].rpartition(":")
        if host and port.isdigit():
            yield host.strip("[]"), int(port)


def probe(host: str, port: int) -> Listener | None:
    """Ask a listener which SASL mechanisms it takes, without and with TLS; None if it answers neither.

    No login is tried, and the certificate is not checked, because nothing is sent but this question.
    """
    with suppress(OSError), _connected(host, port) as plain:
        if (mechanisms := _mechanisms(plain)) is not None:
            return Listener(("SASL_PLAINTEXT" if mechanisms else "PLAINTEXT",), mechanisms)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(OSError), _connected(host, port) as plain, context.wrap_socket(plain) as encrypted:
        mechanisms = None
        # It ends the connection if it wants a client's certificate.
        with suppress(OSError):
            mechanisms = _mechanisms(encrypted)
        if mechanisms is None:
            return Listener(("SSL", "SASL_SSL"))
        return Listener(("SASL_SSL" if mechanisms else "SSL",), mechanisms)
    return None


def certificate_fault(host: str, port: int, settings: Mapping[str, Any]) -> str | None:
    """Why the broker's certificate is refused, in OpenSSL's words; None if it is not, or the broker is away."""
    try:
        context = ssl.create_default_context(
            cafile=settings.get("ssl.ca.location") or None, cadata=settings.get("ssl.ca.pem") or None
        )
        with _connected(host, port) as plain, context.wrap_socket(plain, server_hostname=host):
            return None
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        return None


def _connected(host: str, port: int) -> socket.socket:
    connected = socket.create_connection((host, port), timeout=TIMEOUT_S)
    connected.settimeout(TIMEOUT_S)
    return connected


def _mechanisms(connected: socket.socket) -> tuple[str, ...] | None:
    """The listener's SASL mechanisms, empty if it has none; None if it does not answer as a broker."""
    wanted = b"none"
    body = struct.pack(">hhih", _SASL_HANDSHAKE, 1, 1, -1) + struct.pack(">h", len(wanted)) + wanted
    connected.sendall(struct.pack(">i", len(body)) + body)
    answer = b""
    while len(answer) < 4 or len(answer) < 4 + struct.unpack(">i", answer[:4])[0]:
        received = connected.recv(4096)
        answer += received
        if not received or len(answer) > _LARGEST_ANSWER:
            return None
    try:
        correlation, code, count = struct.unpack(">ihi", answer[4:14])
        if correlation != 1:
            return None
        if code == _ILLEGAL_SASL_STATE:
            return ()
        found, position = [], 14
        for _ in range(count):
            (length,) = struct.unpack(">h", answer[position : position + 2])
            found.append(answer[position + 2 : position + 2 + length].decode())
            position += 2 + length
    except (struct.error, UnicodeDecodeError):
        return None
    return tuple(found)
