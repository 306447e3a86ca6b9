"""Which ports Airflow gets."""

from __future__ import annotations

import socket

import pytest

from include.local.errors import PortUnavailable
from include.local.ports import API_PORT, TRIGGER_LOG_PORT, WORKER_LOG_PORT, choose_ports, is_free, random_ports
from tests.support.assertions import assert_readable
from tests.support.listening import listening


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
    first = random_ports().api
    monkeypatch.setattr(
        "include.local.ports._SERVERS", (("Airflow's UI", API_PORT, first), ("b", "B", 1), ("c", "C", 2))
    )
    others = {"B": str(random_ports().worker_log), "C": str(random_ports().trigger_log)}
    with listening("127.0.0.1", first):
        ports, notes = choose_ports(others)
    assert ports.api > first
    assert is_free(ports.api)
    assert [f"Port {first} is in use" in note and str(ports.api) in note for note in notes] == [True]


def test_a_port_that_is_asked_for_is_taken():
    wanted = random_ports()
    assert choose_ports(wanted.settings()) == (wanted, [])


def test_a_port_that_is_asked_for_and_in_use_is_refused_by_number():
    wanted = random_ports()
    with listening("127.0.0.1", wanted.api), pytest.raises(PortUnavailable) as refusal:
        choose_ports(wanted.settings())
    assert_readable(refusal.value, wanted.api, API_PORT)


def test_one_port_asked_for_twice_is_refused():
    wanted = random_ports()
    with pytest.raises(PortUnavailable) as refusal:
        choose_ports({**wanted.settings(), TRIGGER_LOG_PORT: str(wanted.worker_log)})
    assert_readable(refusal.value, wanted.worker_log, TRIGGER_LOG_PORT)


@pytest.mark.parametrize("nonsense", ["http", "0", "70000", "-1"])
def test_a_port_that_does_not_exist_is_refused(nonsense):
    with pytest.raises(PortUnavailable) as refusal:
        choose_ports({**random_ports().settings(), WORKER_LOG_PORT: nonsense})
    assert_readable(refusal.value, repr(nonsense), WORKER_LOG_PORT)
