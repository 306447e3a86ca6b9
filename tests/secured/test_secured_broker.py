"""The secured broker keeps its secrets in files that only its user can read, and out of command lines."""

from __future__ import annotations

import stat

import psutil
import pytest
from typer.testing import CliRunner

from include.__main__ import app
from include.local.broker import BrokerError, running_cluster
from include.local.broker.cluster_file import ClusterRecord, NodeRecord
from tests.support.secrets import files_with


def test_no_other_user_can_read_a_file_with_a_secret(secured_broker):
    security = secured_broker.security
    key = security.certificate.read_text().splitlines()[1]
    secrets = {secret: secret.encode() for secret in (*security.passwords().values(), key)}

    found = files_with(secrets, secured_broker.data_dir)

    assert str(security.passwords_file.relative_to(secured_broker.data_dir)) in found
    assert {mode for mode, _ in found.values()} == {0o600}
    assert stat.S_IMODE(secured_broker.data_dir.stat().st_mode) == 0o700


def test_no_process_has_a_password_among_its_arguments(secured_broker):
    command = " ".join(psutil.Process(secured_broker.nodes[0].pid).cmdline())

    assert not any(password in command for password in secured_broker.security.passwords().values())


@pytest.mark.parametrize("secure", [True, False])
def test_data_of_a_cluster_with_and_without_login_are_not_mixed(tmp_path, secure):
    node = NodeRecord(id=1, port=20_000, controller_port=20_001)
    ClusterRecord(cluster_id="A" * 22, secure=not secure, nodes=[node]).save(tmp_path)

    with pytest.raises(BrokerError, match="which can't be changed"), running_cluster(tmp_path, secure=secure):
        pass


def test_a_user_sees_a_topic_only_by_a_right(secured_broker, administrator):
    """Without the ACLs everybody would see everything."""
    from confluent_kafka.admin import AdminClient

    from include.kafka.topics import TopicSpec, ensure_topics

    ensure_topics(administrator, [TopicSpec("hidden")])
    with AdminClient(secured_broker.client_settings("ingest")) as admin:
        assert "hidden" not in admin.list_topics(timeout=10).topics


def test_the_command_line_says_where_the_logins_are(secured_broker):
    data = str(secured_broker.data_dir)

    started = CliRunner().invoke(app, ["broker", "start", "--secure", "--data", data])

    assert started.exit_code == 0, started.output
    assert started.stdout.strip() == secured_broker.bootstrap_servers
    assert str(secured_broker.security.connections_file) in started.stderr
    assert "AIRFLOW_CONN_KAFKA_PREDICT=" in secured_broker.security.connections_file.read_text()
