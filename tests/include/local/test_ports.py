"""Which ports Airflow gets."""

from __future__ import annotations

import socket

import pytest

from include.local.errors import PortUnavailable
from include.local.ports import API_PORT, TRIGGER_LOG_PORT, WORKER_LOG_PORT, choose_ports, is_free
from tests.support.assertions import assert_readable
from tests.support.listening import listening
from tests.support.stacks import random_ports


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - what Airflow's log servers do
def test_a_port_that_a_server_holds_is_not_free(host):
    with listening(host) as port:
        assert not is_free(port)
    assert is_free(port)


def test_a_port_is_free_again_while_connections_to_the_last_server_linger():
    with listening("127.0.0.1") as port, socket.create_connection(("127.0.0.1", port)):
        pass
    assert is_free(port)


def test_a_port_in_use_gives_way_to_the_next_free_one_and_a_sentence_says_so(monkeypatch):
    first = int(random_ports()[API_PORT])
    monkeypatch.setattr(
        "include.local.ports._SERVERS", (("Airflow's UI", API_PORT, first), ("b", "B", 1), ("c", "C", 2))
    )
    others = {"B": random_ports()[WORKER_LOG_PORT], "C": random_ports()[TRIGGER_LOG_PORT]}
    with listening("127.0.0.1", first):
        ports, notes = choose_ports(others)
    assert int(ports[API_PORT]) > first
    assert is_free(int(ports[API_PORT]))
    assert [f"Port {first} is in use" in note and ports[API_PORT] in note for note in notes] == [True]


def test_a_port_that_is_asked_for_is_taken():
    wanted = random_ports()
    assert choose_ports(wanted) == (wanted, [])


def test_a_port_that_is_asked_for_and_in_use_is_refused_by_number():
    wanted = random_ports()
    with listening("127.0.0.1", int(wanted[API_PORT])), pytest.raises(PortUnavailable) as refusal:
        choose_ports(wanted)
    assert_readable(refusal.value, wanted[API_PORT], API_PORT)


def test_one_port_asked_for_twice_is_refused():
    wanted = random_ports()
    with pytest.raises(PortUnavailable) as refusal:
        choose_ports({**wanted, TRIGGER_LOG_PORT: wanted[WORKER_LOG_PORT]})
    assert_readable(refusal.value, wanted[WORKER_LOG_PORT], TRIGGER_LOG_PORT)


@pytest.mark.parametrize("nonsense", ["http", "0", "70000", "-1"])
def test_a_port_that_does_not_exist_is_refused(nonsense):
    with pytest.raises(PortUnavailable) as refusal:
        choose_ports({**random_ports(), WORKER_LOG_PORT: nonsense})
    assert_readable(refusal.value, repr(nonsense), WORKER_LOG_PORT)
