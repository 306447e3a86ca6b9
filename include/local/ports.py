"""Ports of this machine: which are free, and which ones the broker and Airflow get."""

from __future__ import annotations

import errno
import random
import socket
from itertools import islice
from typing import TYPE_CHECKING

from include.local.errors import PortUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LOOPBACK = "127.0.0.1"
API_PORT = "AIRFLOW__API__PORT"
WORKER_LOG_PORT = "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT"
TRIGGER_LOG_PORT = "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT"
MLFLOW_PORT = "MILLRACE_MLFLOW_PORT"

# Each server, the setting of its port, and its default.
_SERVERS = (
    ("Airflow's API server", API_PORT, 8080),
    ("the server of tasks' logs", WORKER_LOG_PORT, 8793),
    ("the server of triggers' logs", TRIGGER_LOG_PORT, 8794),
    ("MLflow's interface", MLFLOW_PORT, 5000),
)
_TRIES = 100
# Below every system's ephemeral range, so that no outgoing connection takes a broker's port while it is down.
_BROKER = range(20_000, 30_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now, on the loopback interface and on all of them.

    The log servers listen on every interface, and a wildcard listener may share its port with a loopback one on some
    systems: so a port is free if both binds succeed and no server answers there.
    """
    for family, host in ((socket.AF_INET, LOOPBACK), (socket.AF_INET, ""), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family) as probe:
                # The servers set it too: lingering connections of the last run do not count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((host, port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                continue  # a machine without IPv6
            return False
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) != 0


def choose_ports(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Choose the ports of a start, one for each server of Airflow's processes and MLflow's.

    A port that the environment sets is used or refused; otherwise it is the server's default or the next free one.

    Returns:
        The ports as environment variables, and a sentence for each that differs from the default.

    Raises:
        PortUnavailable: a port that the environment sets is in use or does not exist, or no free one was found.
    """
    chosen: dict[str, int] = {}
    notes: list[str] = []
    for name, variable, default in _SERVERS:
        if wanted := environment.get(variable):
            chosen[variable] = _required(name, variable, wanted, taken=chosen.values())
            continue
        tried = (port for port in range(default, default + _TRIES) if port not in chosen.values())
        port = next(filter(is_free, tried), None)
        if port is None:
            raise PortUnavailable(
                f"Ports {default} to {default + _TRIES - 1} are all in use, and {name} needs one: stop what listens "
                f"there, or set {variable} to a free port."
            )
        if port != default:
            notes.append(f"Port {default} is in use: {name} listens on {port}.")
        chosen[variable] = port
    return {variable: str(port) for variable, port in chosen.items()}, notes


def broker_ports(count: int, *, taken: Collection[int] = ()) -> list[int]:
    """Free ports outside `taken` for nodes of the embedded broker.

    Raises:
        PortUnavailable: there are not that many.
    """
    free = (port for port in random.sample(_BROKER, len(_BROKER)) if port not in taken and is_free(port))
    chosen = list(islice(free, count))
    if len(chosen) < count:
        raise PortUnavailable(
            f"Only {len(chosen)} of the {count} ports that are needed are free in {_BROKER.start}-{_BROKER.stop - 1}: "
            "stop what listens there."
        )
    return chosen


def require_free(port: int, purpose: str, remedy: str) -> None:
    """Refuse a port that was asked for and can't be had.

    Args:
        purpose: what asks for it, and for what.
        remedy: what else a person may do about a port in use.

    Raises:
        PortUnavailable: it does not exist or is in use.
    """
    if not 1 <= port <= 65_535:
        raise PortUnavailable(f"Port {port} does not exist, and {purpose}: choose one from 1 to 65535.")
    if not is_free(port):
        raise PortUnavailable(f"Port {port} is in use, and {purpose}: stop what listens there, or {remedy}.")


def _required(name: str, variable: str, wanted: str, *, taken: Collection[int]) -> int:
    port = int(wanted) if wanted.isdecimal() else 0
    purpose = f"{variable} = {wanted!r} asks for it for {name}"
    if port in taken:
        raise PortUnavailable(f"Port {port} is another server's already, and {purpose}: change or unset the variable.")
    require_free(port, purpose, "change or unset the variable")
    return port
