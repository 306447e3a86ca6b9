"""The services of docker-compose.yaml, run as processes with the file's own settings, commands and secrets."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from include.kafka.connection import KafkaConnection
from include.kafka.topics import TopicSpec, ensure_topics, topic_setting
from include.local.ports import broker_ports
from include.storage.removal import remove_folder
from tests.support.compose import KafkaNodes, Project, running_kafka, with_kafka_addresses
from tests.support.mlflow_database import put_database
from tests.support.processes import wait_for

pytestmark = pytest.mark.long


# ---- Kafka


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.create(tmp_path_factory.mktemp("project"))
    with_kafka_addresses(project)
    return project


@pytest.fixture(scope="module")
def kafka(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNodes]:
    with running_kafka(project, tmp_path_factory.mktemp("kafka")) as nodes:
        yield nodes


def commit_one(connection: KafkaConnection, topic: str) -> None:
    """Write one record to a topic of the given name in a transaction, with the position of a group."""
    from confluent_kafka import TopicPartition

    ensure_topics(connection, [TopicSpec(topic)])
    producer = connection.producer(**{"transactional.id": topic})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, b"a record")
    with connection.consumer(topic) as consumer:
        position = [TopicPartition(topic, 0, 1)]
        producer.send_offsets_to_transaction(position, consumer.consumer_group_metadata(), 60)
    producer.commit_transaction(60)


def replicas(connection: KafkaConnection, topic: str) -> set[int]:
    """The number of copies of each partition."""
    with connection.admin() as admin:
        return {len(partition.replicas) for partition in admin.list_topics(topic, 30).topics[topic].partitions.values()}


def test_a_transaction_of_airflow_is_kept_on_three_nodes(project: Project, kafka: KafkaNodes) -> None:
    connection = project.connection()
    commit_one(connection, "three-nodes")
    for topic in ("three-nodes", "__transaction_state", "__consumer_offsets"):
        assert replicas(connection, topic) == {3}, topic
        assert topic_setting(connection, topic, "min.insync.replicas") == "2", topic


def test_this_machine_reaches_every_node_by_its_own_address(project: Project, kafka: KafkaNodes) -> None:
    with project.connection("host-connection.json").admin() as admin:
        brokers = admin.list_topics(timeout=30).brokers.values()
    published = [address for name, address in project.addresses.items() if name.startswith("localhost:")]
    assert sorted(f"{broker.host}:{broker.port}" for broker in brokers) == sorted(published)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"sasl.password": "wrong"}, "_AUTHENTICATION"),
        ({"sasl.username": "nobody"}, "_AUTHENTICATION"),
        ({"sasl.mechanism": "PLAIN"}, "_AUTHENTICATION"),
        ({"ssl.ca.location": "/etc/ssl/certs"}, "_SSL"),
    ],
    ids=str,
)
def test_nobody_gets_in_without_the_login(
    project: Project, kafka: KafkaNodes, settings: dict[str, str], reason: str
) -> None:
    from confluent_kafka import KafkaError, Producer

    errors: list[int] = []
    connection = project.connection(**settings)
    client = Producer({**connection.settings, "error_cb": lambda error: errors.append(error.code()), "log_level": 0})

    def refused() -> bool:
        client.poll(0.1)
        return getattr(KafkaError, reason) in errors

    wait_for(refused, reason)


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_a_listener_answers_nothing_before_the_login(project: Project, kafka: KafkaNodes, protocol: str) -> None:
    """A request for metadata on a bare connection, or on one with TLS: the node closes it."""
    for name, address in project.addresses.items():
        host, port = address.split(":")
        with closing(socket.create_connection((host, int(port)), timeout=30)) as connection:
            client: socket.socket = connection
            if protocol == "SSL":
                trust = ssl.create_default_context(cafile=str(project.secret("ca.crt")))
                client = trust.wrap_socket(connection, server_hostname=host)
            with closing(client):
                client.sendall(bytes.fromhex("00000011 0003 0001 00000001 0004 74657374 ffffffff".replace(" ", "")))
                with suppress(ConnectionResetError):
                    # TLS answers with an alert, which begins with 21.
                    assert client.recv(1) in (b"", b"\x15"), name


def test_airflow_can_create_neither_users_nor_rights(project: Project, kafka: KafkaNodes) -> None:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import (
        ScramCredentialInfo,
        ScramMechanism,
        UserScramCredentialUpsertion,
    )

    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 8192)
    with project.connection().admin() as admin:
        change = UserScramCredentialUpsertion("airflow", credential, b"another-password")
        result = admin.alter_user_scram_credentials([change], request_timeout=30)["airflow"]
        with pytest.raises(KafkaException) as refused:
            result.result(timeout=30)
    assert refused.value.args[0].code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED


def test_no_password_is_in_the_nodes_logs(project: Project, kafka: KafkaNodes) -> None:
    passwords = [
        *re.findall(r'password="(.*?)"', project.secret("kafka-broker.properties").read_text()),
        json.loads(project.secret("host-connection.json").read_text())["extra"]["sasl.password"],
    ]
    logs = kafka.logs()
    assert "Kafka Server started" in logs
    assert [password for password in passwords if password in logs] == []


def test_a_transaction_commits_without_one_node(project: Project, kafka: KafkaNodes) -> None:
    kafka.processes["kafka-3"].kill()
    kafka.processes["kafka-3"].wait(timeout=30)
    commit_one(project.connection(), "two-nodes")


# ---- MLflow


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, str]]:
    """The server's own command, on SQLite in the place of Postgres, and its URL."""
    folder = tmp_path_factory.mktemp("mlflow")
    project = Project.create(folder)
    (port,) = broker_ports(1)
    project.addresses = {
        "--port=5000": f"--port={port}",
        "--host=0.0.0.0": "--host=127.0.0.1",
        "--workers=2": "--workers=1",
        "postgresql+psycopg2://mlflow@postgres:5432/mlflow": f"sqlite:///{folder}/mlflow/mlflow.db",
        "postgresql+psycopg2://mlflow@postgres:5432/mlflow_auth": f"sqlite:///{folder}/auth.db",
        "/opt/airflow/mlartifacts": str(folder / "artifacts"),
    }
    settings = project.secret("mlflow-auth.ini")
    settings.write_text(project.here(settings.read_text()))
    put_database(folder)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {**project.environment("mlflow"), "HOME": str(folder), "PATH": path}
    # The entry point is of the image.
    command = project.command("mlflow")[2:]
    with (folder / "output").open("wb") as output:
        server = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
    url = f"http://127.0.0.1:{port}"

    def healthy() -> bool:
        assert server.poll() is None, (folder / "output").read_text()
        try:
            return httpx.get(f"{url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(healthy, "MLflow's healthcheck", timeout_s=240)
        yield project, url
    finally:
        server.terminate()
        server.wait(timeout=30)


SEARCH = "/api/2.0/mlflow/registered-models/search"


@pytest.mark.parametrize("login", [None, ("millrace", "wrong"), ("admin", "password")])
def test_mlflow_answers_nobody_without_the_login(mlflow: tuple[Project, str], login: tuple[str, str] | None) -> None:
    assert httpx.get(f"{mlflow[1]}{SEARCH}", auth=login, timeout=30).status_code == 401


def test_tasks_log_in_to_mlflow_with_the_mounted_file(mlflow: tuple[Project, str], tmp_path: Path) -> None:
    """Where the home is that of the scheduler's container."""
    project, url = mlflow
    (tmp_path / ".mlflow").mkdir()
    shutil.copy(project.secret("mlflow-credentials"), tmp_path / ".mlflow" / "credentials")
    script = (
        "from include.registry.tracking import open_registry; client = open_registry().client; "
        "client.create_registered_model('digits'); print(client.get_registered_model('digits').name)"
    )
    variables = {**os.environ, "HOME": str(tmp_path), "MLFLOW_TRACKING_URI": url}
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "digits\n", done.stderr


# ---- Postgres


POSTGRES = shutil.which("postgres")


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[Project, int, list[str]]]:
    """A server with the container's command and files, its port, and what its programs are run with.

    As in the container it runs as the owner of the secrets, without capabilities.
    """
    if POSTGRES is None:
        pytest.skip("no PostgreSQL server is installed on this machine")
    folder = Path(tempfile.mkdtemp(prefix="millrace-postgres-"))
    folder.chmod(0o755)
    project = Project.create(folder)
    (port,) = broker_ports(1)
    for name, path in {"roles": "compose/roles.sql", "hba": "compose/pg_hba.conf"}.items():
        source = Path(__file__).resolve().parent.parent / path
        (folder / name).write_text(project.here(source.read_text()))
    (folder / "run").mkdir()
    user = []
    if os.geteuid() == 0:
        # PostgreSQL never runs as root. In the container the image knows any user; here it must be one of the machine.
        owner = pwd.getpwnam("nobody").pw_uid
        for path in (folder / "run", folder / "secrets", *(folder / "secrets").iterdir()):
            os.chown(path, owner, 0)
        user = ["setpriv", f"--reuid={owner}", "--regid=0", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
    programs = Path(POSTGRES).resolve().parent
    data = folder / "run" / "data"
    password = project.secret("postgres-password")
    init = [programs / "initdb", "--pgdata", data, "--username=postgres", "--pwfile", password]
    subprocess.run([*user, *map(str, init)], check=True, capture_output=True, timeout=60, cwd="/")
    project.addresses = {"/etc/postgresql/pg_hba.conf": str(folder / "hba")}
    program, *options = project.command("postgres")
    assert program == "postgres"
    options += ["-D", str(data), "-p", str(port), "-k", str(folder / "run"), "-c", "listen_addresses=127.0.0.1"]
    with (folder / "output").open("wb") as output:
        server = subprocess.Popen(
            [*user, str(programs / "postgres"), *options], stdout=output, stderr=subprocess.STDOUT, cwd="/"
        )
    check = [programs / "pg_isready", "--host=127.0.0.1", "--username=airflow", "--dbname=airflow", "--port", str(port)]
    try:
        wait_for(
            lambda: subprocess.run(list(map(str, check)), capture_output=True, check=False).returncode == 0,
            (folder / "output").read_text(),
        )
        psql = [*user, str(programs / "psql"), "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--tuples-only", "--no-align"]
        create = [
            *psql,
            "--host",
            str(folder / "run"),
            "--port",
            str(port),
            "--username=postgres",
            "--file",
            folder / "roles",
        ]
        variables = {**os.environ, "PGPASSWORD": password.read_text()}
        subprocess.run(list(map(str, create)), env=variables, check=True, capture_output=True, timeout=60, cwd="/")
        yield project, port, psql
    finally:
        server.terminate()
        server.wait(timeout=30)
        remove_folder(Path(tempfile.gettempdir()), folder)


def query(postgres: tuple[Project, int, list[str]], role: str, database: str, sql: str, mode: str) -> str:
    """The answer to a query of a role with its own password file, or the error."""
    project, port, psql = postgres
    # The certificate is that of the host `postgres`.
    password_file = project.secret(f"{role}.pgpass")
    variables = {
        **os.environ,
        # Another home than that of root, which the user can't read.
        "HOME": "/",
        "PGSSLMODE": mode,
        "PGSSLROOTCERT": str(project.secret("ca.crt")),
        "PGPASSFILE": str(password_file),
    }
    password = password_file.read_text().strip().rpartition(":")[2]
    where = f"host=postgres hostaddr=127.0.0.1 port={port} user={role} dbname={database} password={password}"
    done = subprocess.run(
        [*psql, where, "--command", sql],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip()


@pytest.mark.parametrize(
    ("role", "database"), [("airflow", "airflow"), ("mlflow", "mlflow"), ("mlflow", "mlflow_auth")]
)
def test_a_service_owns_its_database(postgres: tuple[Project, int, list[str]], role: str, database: str) -> None:
    session = "SELECT ssl, rolsuper FROM pg_stat_ssl, pg_roles WHERE pid = pg_backend_pid() AND rolname = current_user"
    sql = f"CREATE TABLE t (id int); DROP TABLE t; {session}"
    assert query(postgres, role, database, sql, "verify-full").splitlines()[-1] == "t|f"


@pytest.mark.parametrize(
    ("role", "database", "mode"),
    [
        ("mlflow", "airflow", "verify-full"),
        ("airflow", "mlflow", "verify-full"),
        ("airflow", "mlflow_auth", "verify-full"),
        ("airflow", "postgres", "verify-full"),
        ("airflow", "airflow", "disable"),
    ],
)
def test_a_service_reaches_no_other_database_and_nothing_without_tls(
    postgres: tuple[Project, int, list[str]], role: str, database: str, mode: str
) -> None:
    assert "no pg_hba.conf entry" in query(postgres, role, database, "SELECT 1", mode)
