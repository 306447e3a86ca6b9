"""Ports of the loopback interface: which are free, and which to choose."""

from __future__ import annotations

import random
import socket

from include.local.broker.errors import BrokerError

HOST = "127.0.0.1"

# Below every system's ephemeral range, so that no outgoing connection takes a broker's port while it is down.
_CHOICES = range(20_000, 30_000)


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As Java's server sockets do: connections that linger from the last run do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose_free(count: int, *, taken: set[int]) -> list[int]:
    """Return `count` free ports outside `taken`.

    Raises:
        BrokerError: there are not that many.
    """
    candidates = (port for port in random.sample(_CHOICES, len(_CHOICES)) if port not in taken and is_free(port))
    chosen = [port for port, _ in zip(candidates, range(count), strict=False)]
    if len(chosen) < count:
        raise BrokerError(
            f"Only {len(chosen)} of {count} ports wanted are free in {_CHOICES.start}-{_CHOICES.stop - 1}: "
            "stop what listens there, or choose one with --port."
        )
    return chosen


def refuse_taken(ports: list[int]) -> None:
    """Raise a `BrokerError` that names the first of these ports that is out of range or in use."""
    for port in ports:
        if not 1 <= port <= 65_535:
            raise BrokerError(f"Port {port} does not exist: choose one from 1 to 65535.")
        if not is_free(port):
            raise BrokerError(
                f"Port {port} is in use on {HOST}: stop what listens there, or choose another port (or none, to have a "
                "free one chosen)."
            )
