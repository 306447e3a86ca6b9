"""A refusal by the broker is distinguished from a broker that is down, at once and with the setting to correct."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from include.kafka.connection import KafkaConnection
from include.kafka.errors import AccessDenied, BrokerUnavailable
from include.kafka.login import log_in
from include.kafka.settings import InvalidSettings
from include.local.broker import Cluster
from tests.support.assertions import assert_readable
from tests.support.secured import Certificate, certificate, tls_server

# Longer than any refusal may take.
TIMEOUT_S = 20.0
LIMIT_S = 5.0
KEY_PASSWORD = "the-password-of-the-key"  # noqa: S105 - of a key that a test makes


@pytest.fixture(scope="module")
def good(secured_broker: Cluster) -> dict[str, str]:
    """The settings of a user who has no rights, and needs none to log in."""
    return secured_broker.client_settings("ingest")


@pytest.fixture(scope="module")
def mutual(secured_broker: Cluster, good: dict[str, str]) -> dict[str, str]:
    """The listener of the controller, which wants a certificate of its clients."""
    address = f"127.0.0.1:{secured_broker.nodes[0].record.controller_port}"
    return {"bootstrap.servers": address, "security.protocol": "SSL", "ssl.ca.location": good["ssl.ca.location"]}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("certificates") / "foreign")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("certificates") / "encrypted", password=KEY_PASSWORD)


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings to reach a server whose certificate has expired."""
    made = certificate(tmp_path_factory.mktemp("certificates") / "expired", expired=True)
    with tls_server(made) as address:
        yield {"bootstrap.servers": address, "ssl.ca.location": str(made.authority)}


def refused(settings: dict[str, Any], kind: type[Exception], *named: str) -> None:
    """Log in, and be refused in time with an error that a retry can't correct."""
    began = time.monotonic()
    with pytest.raises(kind) as refusal:
        log_in(KafkaConnection(settings, timeout_s=TIMEOUT_S))
    assert time.monotonic() - began < LIMIT_S
    assert_readable(refusal.value, *named)
    for secret in ("wrong-password", KEY_PASSWORD):
        assert secret not in str(refusal.value)


def client_of(presented: Certificate, **settings: str) -> dict[str, str]:
    files = {"ssl.certificate.location": str(presented.certificate), "ssl.key.location": str(presented.key)}
    return {**files, **{name.replace("_", "."): value for name, value in settings.items()}}


def test_a_login_that_is_right_takes_no_time_worth_mentioning(good):
    began = time.monotonic()

    log_in(KafkaConnection(good, timeout_s=TIMEOUT_S))

    assert time.monotonic() - began < LIMIT_S


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        pytest.param(
            {"sasl.password": "wrong-password"},
            ["User:ingest", "invalid credentials", "sasl.password"],
            id="wrong password",
        ),
        pytest.param(
            {"sasl.username": "nobody"}, ["User:nobody", "invalid credentials", "sasl.username"], id="unknown user"
        ),
        pytest.param(
            {"sasl.mechanism": "SCRAM-SHA-256"}, ["SCRAM-SHA-512", "correct sasl.mechanism"], id="wrong mechanism"
        ),
        pytest.param({"ssl.ca.location": ""}, ["certificate verify failed", "ssl.ca.location"], id="no CA"),
        pytest.param(
            {"security.protocol": "PLAINTEXT"},
            ["speaks SASL_SSL", "PLAINTEXT", "set security.protocol to SASL_SSL and sasl.mechanism to"],
            id="plaintext to TLS",
        ),
        pytest.param(
            {"security.protocol": "SASL_PLAINTEXT"}, ["speaks SASL_SSL", "SASL_PLAINTEXT"], id="SASL without TLS"
        ),
        pytest.param({"security.protocol": "SSL"}, ["speaks SASL_SSL", "speaks SSL"], id="TLS without SASL"),
    ],
)
def test_a_login_that_the_broker_refuses_names_the_setting(good, changed, named):
    refused({**good, **changed}, AccessDenied, good["bootstrap.servers"], *named)


def test_a_certificate_of_another_host_is_refused(good):
    address = good["bootstrap.servers"].replace("127.0.0.1", "localhost")
    settings = {**good, "bootstrap.servers": address, "broker.address.family": "v4"}

    refused(settings, AccessDenied, address, "Hostname mismatch", "bootstrap.servers")


def test_a_certificate_of_another_authority_is_refused(good, foreign):
    refused(
        {**good, "ssl.ca.location": str(foreign.authority)},
        AccessDenied,
        "certificate verify failed",
        "ssl.ca.location",
    )


def test_a_certificate_that_has_expired_is_refused(good, expired):
    refused({**good, **expired}, AccessDenied, expired["bootstrap.servers"], "certificate has expired", "renew it")


def test_a_login_without_the_certificate_that_the_broker_wants_is_refused(mutual):
    refused(mutual, AccessDenied, "certificate required", "ssl.certificate.location")


def test_a_client_s_certificate_of_another_authority_is_refused(mutual, foreign):
    refused({**mutual, **client_of(foreign)}, AccessDenied, "alert certificate", "ssl.certificate.location")


def test_an_encrypted_key_is_opened_with_its_password(mutual, encrypted):
    # Of another authority than the broker's: it is refused for that, so the key could be read.
    settings = {**mutual, **client_of(encrypted, ssl_key_password=KEY_PASSWORD)}

    refused(settings, AccessDenied, "alert certificate")


@pytest.mark.parametrize("password", [{}, {"ssl_key_password": "wrong-password"}], ids=["none", "wrong"])
def test_an_encrypted_key_without_its_password_is_refused(mutual, encrypted, password):
    refused({**mutual, **client_of(encrypted, **password)}, InvalidSettings, "ssl.key.location", "ssl.key.password")


def test_a_damaged_key_is_refused(mutual, foreign, tmp_path):
    (tmp_path / "key.pem").write_text(foreign.key.read_text()[:80])
    settings = {**mutual, **client_of(foreign), "ssl.key.location": str(tmp_path / "key.pem")}

    refused(settings, InvalidSettings, "ssl.key.location")


def test_a_broker_that_is_down_is_no_refusal(good, no_broker):
    connection = KafkaConnection({**good, "bootstrap.servers": no_broker.bootstrap_servers}, timeout_s=1)

    with pytest.raises(BrokerUnavailable) as refusal:
        log_in(connection)

    assert_readable(refusal.value, no_broker.bootstrap_servers, "logging in", "1 s")


def test_a_refused_login_is_tried_once(good, secured_broker):
    log_file = secured_broker.nodes[0].log_file

    def failed_logins() -> int:
        return log_file.read_text().count("Failed authentication")

    before = failed_logins()
    refused({**good, "sasl.password": "wrong-password"}, AccessDenied)
    assert failed_logins() - before <= 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [("enable.ssl.certificate.verification", "false"), ("ssl.endpoint.identification.algorithm", "none")],
)
def test_a_check_of_certificates_that_is_off_is_a_warning_or_refused(good, caplog, monkeypatch, setting, value):
    connection = KafkaConnection({**good, setting: value}, timeout_s=TIMEOUT_S)
    with caplog.at_level(logging.WARNING, "include.kafka.settings"):
        log_in(connection)

    assert f"{setting}={value}" in caplog.text
    monkeypatch.setenv("MILLRACE_REQUIRE_TLS", "1")
    with pytest.raises(InvalidSettings) as refusal:
        log_in(connection)
    assert_readable(refusal.value, f"{setting}={value}", "MILLRACE_REQUIRE_TLS")
