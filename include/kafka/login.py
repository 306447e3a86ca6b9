"""One login before a task's work, so that what a broker refuses is an error of its own and not a timeout.

Failed logins and refused certificates arrive only at librdkafka's `error_cb`, which only `poll` serves. The calls of a
step don't poll, so each of them would wait for its whole timeout, and its retries would fail the login again and again.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import wait
from dataclasses import replace
from typing import TYPE_CHECKING

from include.kafka.connection import KafkaConnection, log_client_error
from include.kafka.errors import AccessDenied
from include.kafka.listener import addresses, certificate_fault, probe
from include.kafka.settings import warn_if_unprotected

if TYPE_CHECKING:
    from confluent_kafka import KafkaError


POLL_S = 0.05
# Another bootstrap server may accept what this one refused.
GRACE_S = 1.0
# librdkafka adds to each error where and how long after the connection it happened, which differs each time.
CIRCUMSTANCES = re.compile(r"^\w+://\S+: | \(after \d+ms in state [^)]*\)")
# A stopping broker closes connections too, so its listener is probed only if no broker has answered by then.
PROBE_AFTER_S = 1.5


def log_in(connection: KafkaConnection) -> None:
    """Connect, log in and wait for the first answer.

    Raises:
        AccessDenied: the broker refused the login or the connection's certificate, its own certificate is not
            accepted, or the connection has another `security.protocol` than the broker; with the setting to correct.
        InvalidSettings: see `include.kafka.settings`.
        BrokerUnavailable: no broker answered in time.
    """
    warn_if_unprotected(connection.settings)
    reports: list[tuple[float, KafkaError]] = []

    def on_error(error: KafkaError) -> None:
        if _text(error) not in {_text(earlier) for _, earlier in reports}:
            log_client_error(error)
        reports.append((time.monotonic(), error))

    # Without librdkafka's own log, which repeats each error for as long as the broker is away.
    watched = replace(connection, settings={**connection.settings, "error_cb": on_error, "log_level": 0})
    began = time.monotonic()
    probed = False
    with watched.admin() as admin:
        answer = admin.describe_cluster(request_timeout=connection.timeout_s)
        while not wait([answer], POLL_S).done:
            # For `on_error`. A poll that waits does not notice the answer.
            admin.poll(0)
            now = time.monotonic()
            for when, error in reports:
                if _is_final(error) and now - when > (0 if _is_login(error) else GRACE_S):
                    raise refusal(connection, error)
            if not probed and reports and now - began > PROBE_AFTER_S:
                probed = True
                if (other := other_protocol(connection)) is not None:
                    raise other
        with connection.explained("logging in"):
            answer.result()


def _is_login(error: KafkaError) -> bool:
    from confluent_kafka import KafkaError

    return error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED)


def _is_final(error: KafkaError) -> bool:
    """Whether the broker or its certificate was refused, and not merely lost."""
    from confluent_kafka import KafkaError

    if _is_login(error):
        return True
    text = error.str().lower()
    return "transport error" not in text and (
        error.code() == KafkaError._SSL or ("ssl" in text and ("alert" in text or "certificate verify" in text))
    )


def refusal(connection: KafkaConnection, error: KafkaError) -> AccessDenied:
    """The error for a refused login or certificate, with the setting to correct."""
    settings, servers = connection.settings, connection.bootstrap_servers
    if _is_login(error):
        refused = f"refused the login of {connection.principal or 'the connection'}"
        if "unsupported sasl mechanism" in error.str().lower():
            correct = "correct sasl.mechanism in the Airflow connection"
        elif connection.principal is not None:
            correct = "correct sasl.username or sasl.password in the Airflow connection"
        else:
            correct = "correct what gives the token in the Airflow connection"
    elif "certificate verify" in error.str().lower():
        faults = (certificate_fault(host, port, settings) for host, port in addresses(servers))
        fault = next(filter(None, faults), "the reason is unknown")
        refused = f"has a certificate that is not valid here, {fault.rstrip('.')}"
        correct = (
            "renew it if it has expired, or correct ssl.ca.location (the authority that signed it) or "
            "bootstrap.servers (the host name in it) in the Airflow connection"
        )
    else:
        refused = "refused the TLS connection"
        correct = (
            "set ssl.certificate.location and ssl.key.location in the Airflow connection to a certificate of an "
            "authority that the broker trusts, and to its key"
        )
    return AccessDenied(f"Kafka at {servers} {refused} ({_text(error)}): {correct}.")


def other_protocol(connection: KafkaConnection) -> AccessDenied | None:
    """The error if the broker's listener speaks another protocol than the connection; None if not, or not known."""
    ours = str(connection.settings.get("security.protocol", "plaintext")).upper()
    for host, port in addresses(connection.bootstrap_servers):
        found = probe(host, port)
        if found is not None and ours not in found.protocols:
            theirs = " or ".join(found.protocols)
            mechanisms = f" and sasl.mechanism to {' or '.join(found.mechanisms)}" if found.mechanisms else ""
            return AccessDenied(
                f"Kafka at {host}:{port} speaks {theirs} and the connection speaks {ours}: set security.protocol to "
                f"{theirs}{mechanisms} in the Airflow connection."
            )
    return None


def _text(error: KafkaError) -> str:
    return " ".join(CIRCUMSTANCES.sub("", error.str()).split()).rstrip(".")
