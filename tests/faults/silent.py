"""Servers that accept connections and never answer, like a broker on a machine that hangs."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TIMEOUT_S = 10


@contextmanager
def silent_server(broker: tuple[str, int] | None = None) -> Iterator[str]:
    """Yields the server's address, `host:port`; connections stay open and unanswered until the block ends.

    Args:
        broker: address of a real broker that answers the first request of each connection, `ApiVersions`.
    """
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_accept, args=(server, broker, held), name="silent-server")
        thread.start()
        try:
            yield "{}:{}".format(*server.getsockname())
        finally:
            # Closing alone does not end an `accept` of another thread.
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


def _accept(server: socket.socket, broker: tuple[str, int] | None, held: list[socket.socket]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        held.append(connection)
        if broker is not None:
            connection.settimeout(TIMEOUT_S)
            # A client may disconnect before its first request.
            with suppress(OSError):
                _relay_one(connection, broker)


def _relay_one(client: socket.socket, broker: tuple[str, int]) -> None:
    """Relay one request and its answer."""
    with socket.create_connection(broker, timeout=TIMEOUT_S) as upstream:
        upstream.sendall(_frame(client))
        client.sendall(_frame(upstream))


def _frame(source: socket.socket) -> bytes:
    """One message of Kafka's protocol: four bytes of length, and as many bytes of content."""
    length = source.recv(4, socket.MSG_WAITALL)
    if len(length) < 4:
        raise ConnectionError("The connection ended before a message.")
    return length + source.recv(*struct.unpack(">I", length), socket.MSG_WAITALL)
