"""Settings of a connection that are refused before any client is made."""

from __future__ import annotations

import pytest

from include.kafka.connection import KafkaConnection
from include.kafka.settings import CODE_SETTINGS, InvalidSettings, warn_if_unprotected
from tests.support.assertions import assert_readable

SERVERS = {"bootstrap.servers": "127.0.0.1:1"}


def make_client(settings):
    with KafkaConnection({**SERVERS, **settings}, timeout_s=1).admin():
        pass


@pytest.mark.parametrize("name", CODE_SETTINGS)
def test_a_setting_that_runs_code_is_refused(name):
    with pytest.raises(InvalidSettings) as refusal:
        make_client({name: "library.so"})

    assert_readable(refusal.value, name)


@pytest.mark.parametrize("name", [*CODE_SETTINGS, "acks"])
def test_a_setting_within_another_is_refused(name):
    """librdkafka loaded the library that `default.topic.config` named."""
    settings = {"default.topic.config": {name: "hush-hush"}}

    with pytest.raises(InvalidSettings) as refusal:
        make_client(settings)

    assert_readable(refusal.value, "default.topic.config")
    assert "hush-hush" not in str(refusal.value) + repr(KafkaConnection({**SERVERS, **settings}))


@pytest.mark.parametrize("value", ["hush-hush", ["hush-hush"], 5, ""])
def test_no_other_value_takes_the_place_of_such_settings(value):
    settings = {**SERVERS, "default.topic.config": value}

    with pytest.raises(InvalidSettings) as refusal:
        make_client(settings)

    assert "hush-hush" not in str(refusal.value) + repr(KafkaConnection(settings))


@pytest.mark.parametrize("path", ["a\0b", "a\nb", "\x1b[2J"])
def test_a_path_that_is_none_is_refused_in_one_line(path):
    with pytest.raises(InvalidSettings) as refusal:
        make_client({"security.protocol": "SSL", "ssl.ca.location": path})

    assert_readable(refusal.value, "ssl.ca.location")
    assert str(refusal.value).isprintable()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidSettings) as refusal:
        make_client({"security.protocol": "SSL", "ssl.ca.location": str(tmp_path / "ca.pem")})

    assert_readable(refusal.value, "ssl.ca.location", tmp_path / "ca.pem", "No such file")


def test_a_misspelt_setting_is_named():
    with pytest.raises(InvalidSettings) as refusal:
        make_client({"sasl.passwordd": "hush-hush"})

    assert_readable(refusal.value, "sasl.passwordd")
    assert "hush-hush" not in str(refusal.value)


def test_a_secret_in_an_error_of_librdkafka_is_replaced():
    with pytest.raises(InvalidSettings) as refusal:
        make_client({"security.protocol": "SASL_SSL", "sasl.mechanism": "hush-hush", "sasl.password": "hush-hush"})

    assert "hush-hush" not in str(refusal.value)


@pytest.mark.parametrize("protocol", [None, "plaintext", "SASL_PLAINTEXT"])
@pytest.mark.parametrize(
    ("servers", "warned"),
    [
        ("127.0.0.1:9092,localhost:9093,[::1]:9094", False),
        ("127.0.0.1:9092,kafka-1:9092", True),
        ("SASL_PLAINTEXT://10.0.0.1:9092", True),
    ],
)
def test_what_leaves_this_machine_unencrypted_is_a_warning(caplog, protocol, servers, warned):
    settings = {"bootstrap.servers": servers, "sasl.password": "hush-hush"}

    warn_if_unprotected(settings if protocol is None else {**settings, "security.protocol": protocol})

    assert (f"security.protocol={(protocol or 'plaintext').upper()}" in caplog.text) is warned
    assert "hush-hush" not in caplog.text


@pytest.mark.parametrize("required", ["1", "true"])
def test_a_connection_without_tls_is_refused_where_it_is_required(monkeypatch, required):
    monkeypatch.setenv("MILLRACE_REQUIRE_TLS", required)
    for settings in ({}, {"security.protocol": "SASL_PLAINTEXT"}):
        with pytest.raises(InvalidSettings) as refusal:
            make_client(settings)
        assert_readable(refusal.value, "security.protocol=", "MILLRACE_REQUIRE_TLS", "SASL_SSL")
    make_client({"security.protocol": "SSL"})
    monkeypatch.setenv("MILLRACE_REQUIRE_TLS", "0")
    make_client({})
