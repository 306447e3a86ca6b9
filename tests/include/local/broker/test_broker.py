"""The embedded broker: real Kafka processes, started, killed and found again."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from typer.testing import CliRunner

from include.commands.broker import app
from include.local.broker import BrokerError, Cluster, running_cluster
from include.local.broker.cluster_file import ClusterRecord, NodeRecord
from include.local.broker.jars import LOCK, jars_dir, read_lock, verified_classpath
from include.local.broker.java import find_java
from include.local.broker.properties import write_properties
from include.local.broker.readiness import why_not_ready
from include.local.errors import PortUnavailable
from include.storage.atomic import ASIDE
from include.storage.state import PROJECT_ROOT

TIMEOUT_S = 120

pytestmark = pytest.mark.slow  # brokers of its own


def wait_until(condition, what, timeout_s=TIMEOUT_S):
    """Return when `condition()` is true; fail, naming what was waited for, when time is up."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        pause.wait(0.05)


def make_topic(servers, *, replication=1):
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = f"broker-test.{uuid.uuid4().hex}"
    with AdminClient({"bootstrap.servers": servers}) as admin:
        made = admin.create_topics([NewTopic(topic, 1, replication)], operation_timeout=TIMEOUT_S)
        made[topic].result(TIMEOUT_S)
    return topic


def produce(servers, topic, value):
    from confluent_kafka import Producer

    reports = []
    producer = Producer({"bootstrap.servers": servers, "acks": "all"})
    producer.produce(topic, value, on_delivery=lambda error, _: reports.append(error))
    assert producer.flush(TIMEOUT_S) == 0
    assert reports == [None]


def consume(servers, topic, count, *, group=None):
    """Return the first `count` values of a topic; with a group's name the broker has to coordinate that group."""
    from confluent_kafka import Consumer, TopicPartition

    settings = {"bootstrap.servers": servers, "group.id": group or "none", "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "enable.auto.commit": group is not None})
    values = []
    try:
        if group is None:
            consumer.assign([TopicPartition(topic, 0, 0)])
        else:
            consumer.subscribe([topic])
        deadline = time.monotonic() + TIMEOUT_S
        while len(values) < count:
            assert time.monotonic() < deadline, f"{len(values)} of {count} records within {TIMEOUT_S} s"
            message = consumer.poll(0.2)
            if message is not None:
                assert message.error() is None, message.error()
                values.append(message.value())
    finally:
        consumer.close()
    return values


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A cluster of one node for the tests that stop and kill it, opened by a thread that is gone when they run."""
    with ExitStack() as stack:
        with ThreadPoolExecutor(1) as short_lived:
            cluster = short_lived.submit(stack.enter_context, running_cluster(tmp_path_factory.mktemp("own"))).result()
        yield cluster


def broker_command(*arguments, data):
    """Run `millrace broker` in this process, which saves the imports of a new one."""
    return CliRunner().invoke(app, [*arguments, "--data", str(data)])


def start_from_a_process_that_ends(data):
    return subprocess.run(
        [sys.executable, "-m", "include", "broker", "start", "--data", data],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT_S,
        check=False,
    )


# What a broker is for


def test_a_record_goes_in_and_comes_out(broker):
    topic = make_topic(broker.bootstrap_servers)
    produce(broker.bootstrap_servers, topic, b"seven")
    assert consume(broker.bootstrap_servers, topic, 1, group=topic) == [b"seven"]


def test_a_node_takes_less_than_400_mb(broker):
    assert broker.nodes[0].process().memory_info().rss < 400e6


def test_listens_on_the_loopback_interface_only(broker):
    listening = {c.laddr.ip for c in broker.nodes[0].process().net_connections() if c.status == psutil.CONN_LISTEN}
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


@pytest.mark.long
def test_three_nodes_keep_three_copies_of_topics_offsets_and_transactions(tmp_path):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

    with running_cluster(tmp_path, nodes=3) as cluster:
        servers = cluster.bootstrap_servers
        topic = make_topic(servers, replication=3)
        producer = Producer({"bootstrap.servers": servers, "transactional.id": "three"})
        producer.init_transactions(TIMEOUT_S)
        producer.begin_transaction()
        producer.produce(topic, b"seven")
        producer.commit_transaction(TIMEOUT_S)
        assert consume(servers, topic, 1, group="three") == [b"seven"]
        with AdminClient({"bootstrap.servers": servers}) as admin:
            topics = admin.list_topics(timeout=TIMEOUT_S).topics
            assert {name: min(len(p.isrs) for p in found.partitions.values()) for name, found in topics.items()} == {
                topic: 3,
                "__consumer_offsets": 3,
                "__transaction_state": 3,
            }
            resource = ConfigResource(ResourceType.TOPIC, topic)
            settings = admin.describe_configs([resource], request_timeout=TIMEOUT_S)[resource].result(TIMEOUT_S)
            assert settings["min.insync.replicas"].value == "2"
        cluster.kill()  # the last of three controllers waits 5 s for another before it ends cleanly


# Data outlive the process


def test_a_broker_outlives_the_thread_that_opened_it(own):
    assert why_not_ready(own.nodes[0], registered={1}) is None


def test_a_clean_stop_keeps_data_and_address(own):
    servers = own.bootstrap_servers
    topic = make_topic(servers)
    produce(servers, topic, b"before the stop")
    own.nodes[0].stop()
    assert own.running() == []
    own.nodes[0].start()
    assert consume(servers, topic, 1) == [b"before the stop"]


def test_a_sigkill_keeps_data_and_address(own):
    servers = own.bootstrap_servers
    topic = make_topic(servers)
    produce(servers, topic, b"before the kill")
    own.nodes[0].kill()
    assert own.running() == []
    own.nodes[0].start()
    assert consume(servers, topic, 1) == [b"before the kill"]


def test_a_paused_node_is_not_ready_until_it_is_resumed(own):
    own.nodes[0].process().suspend()
    assert "does not answer" in why_not_ready(own.nodes[0], registered={1})
    own.nodes[0].process().resume()
    wait_until(lambda: why_not_ready(own.nodes[0], registered={1}) is None, "ready again")


# Which process is whose


def test_a_second_cluster_on_the_same_data_is_refused_with_the_first_ones_pid(own):
    with pytest.raises(BrokerError, match=rf"runs already \(pid {own.nodes[0].pid}, "), running_cluster(own.data_dir):
        pass


def test_a_broker_whose_pid_was_never_written_down_is_found(own):
    found = Cluster.load(own.data_dir)
    found.record.nodes[0].pid = None
    assert found.nodes[0].pid == own.nodes[0].pid


def test_a_reused_pid_is_not_taken_for_the_broker(tmp_path):
    me = psutil.Process()
    node = NodeRecord(id=1, port=20_000, controller_port=20_001, pid=me.pid)
    ClusterRecord(cluster_id="A" * 22, nodes=[node]).save(tmp_path)
    assert Cluster.load(tmp_path).stop() == []


def test_an_editor_with_the_settings_open_is_not_taken_for_the_broker(tmp_path):
    ClusterRecord(cluster_id="A" * 22, nodes=[NodeRecord(id=1, port=20_000, controller_port=20_001)]).save(tmp_path)
    cluster = Cluster.load(tmp_path)
    editor = [sys.executable, "-c", "import sys; sys.stdin.read()", str(cluster.nodes[0].properties_file)]
    with subprocess.Popen(editor, stdin=subprocess.PIPE):
        assert cluster.running() == []


@pytest.mark.long
def test_a_broker_dies_with_the_process_that_opened_it(tmp_path):
    code = (
        "import sys, pathlib; from include.local.broker import running_cluster\n"
        "with running_cluster(pathlib.Path(sys.argv[1])) as cluster:\n"
        "    print(cluster.nodes[0].pid, flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    wait_until(lambda: not psutil.pid_exists(pid), f"the end of the broker {pid}")


# The command line


@pytest.mark.long
def test_the_command_lines_broker_goes_on_and_survives_a_kill(tmp_path):
    try:
        first = start_from_a_process_that_ends(tmp_path)
        assert first.returncode == 0, first.stderr
        again = broker_command("start", data=tmp_path)
        assert (again.exit_code, again.stdout) == (0, first.stdout)
        assert "runs already" in again.stderr
        assert "ready" in broker_command("status", data=tmp_path).stdout

        Cluster.load(tmp_path).kill()
        assert broker_command("status", data=tmp_path).exit_code == 3

        after = broker_command("start", data=tmp_path)
        assert (after.exit_code, after.stdout) == (0, first.stdout)
    finally:
        stopped = broker_command("stop", data=tmp_path)
    assert "its data stay" in stopped.stderr
    assert Cluster.load(tmp_path).running() == []


def test_stop_without_a_broker_says_so(tmp_path):
    stopped = broker_command("stop", data=tmp_path / "none")
    assert (stopped.exit_code, stopped.stdout) == (0, "")
    assert "there is nothing to stop" in stopped.stderr


# Refusals


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortUnavailable, match=f"Port {port} is in use"), running_cluster(tmp_path, port=port):
            pass


@pytest.mark.long
@pytest.mark.parametrize(
    ("properties", "shown"),
    [
        pytest.param({"num.io.threads": "many"}, "many", id="refused when the storage is made"),
        pytest.param({"metric.reporters": "no.such.Reporter"}, "no.such.Reporter", id="refused by the broker"),
    ],
)
def test_a_failed_start_shows_the_logs_end_and_leaves_nothing_running(tmp_path, properties, shown):
    with pytest.raises(BrokerError, match=f"(?s)The end of .*{re.escape(shown)}"):  # noqa: SIM117
        with running_cluster(tmp_path, properties=properties):
            pass
    assert Cluster.load(tmp_path).running() == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({"nodes": 2}, "A cluster of 2 nodes is not supported", id="a size that is not supported"),
        pytest.param({"nodes": 3}, r"those of 1 node\(s\), not 3", id="another size than the data's"),
        pytest.param({"port": 70_000}, "Port 70000 does not exist", id="an impossible port"),
        pytest.param({"properties": {"log.dirs": "else"}}, "log.dirs=else cannot be set", id="a property of our own"),
    ],
)
def test_what_cannot_be_had_is_refused(tmp_path, arguments, expected):
    node = NodeRecord(id=1, port=20_000, controller_port=20_001)
    ClusterRecord(cluster_id="A" * 22, nodes=[node]).save(tmp_path)
    with pytest.raises((BrokerError, PortUnavailable), match=expected), running_cluster(tmp_path, **arguments):
        pass


def test_a_damaged_record_is_refused_by_name(tmp_path):
    (tmp_path / "cluster.json").write_text('{"cluster_id": "x"')
    with pytest.raises(BrokerError, match=re.escape(f"{tmp_path}/cluster.json is not a broker's record")):
        Cluster.load(tmp_path)


# Jars


def write_lock(path, jars):
    tables = (
        f'[[dependencies]]\ngroupId = "{jar.group}"\nartifactId = "{jar.artifact}"\nversion = "{jar.version}"\n'
        f'sha256 = "{sha256}"\n'
        for jar, sha256 in jars
    )
    path.write_text("".join(tables))
    return path


@contextmanager
def mirror(root, tmp_path, monkeypatch):
    """Serve a folder as jgo's `central` repository and yield the paths that were asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=root))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    config = tmp_path / "jgo.conf"
    config.write_text(f"[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(config))
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def publish(jar, root):
    """Put a locked jar where a Maven repository has it."""
    folder = root.joinpath(*jar.group.split("."), jar.artifact, jar.version)
    folder.mkdir(parents=True)
    shutil.copy(jars_dir() / jar.filename, folder)


def test_a_jar_with_another_hash_is_refused_before_java_runs(tmp_path, broker):
    jars = read_lock()
    wrong = ("0" if jars[0].sha256[0] != "0" else "1") + jars[0].sha256[1:]
    lock = write_lock(tmp_path / "lock.toml", [(jar, wrong if jar is jars[0] else jar.sha256) for jar in jars])
    expected = f"{jars[0].filename} has the SHA-256 {jars[0].sha256}, but lock.toml says {wrong}: delete the jar"
    with pytest.raises(BrokerError, match=re.escape(expected)), running_cluster(tmp_path / "data", lock=lock):
        pass
    assert not (tmp_path / "data" / "node-1").exists()


def test_a_jar_that_arrives_with_another_hash_is_not_kept(tmp_path, broker, monkeypatch):
    jar = min(read_lock(), key=lambda jar: (jars_dir() / jar.filename).stat().st_size)
    lock = write_lock(tmp_path / "lock.toml", [(jar, "0" * 64)])
    publish(jar, tmp_path / "repository")
    with (
        mirror(tmp_path / "repository", tmp_path, monkeypatch),
        pytest.raises(BrokerError, match=f"SHA-256 {jar.sha256}, the lock file says {'0' * 64}"),
    ):
        verified_classpath(lock, tmp_path / "jars")
    assert list((tmp_path / "jars").glob("*.jar")) == []


def test_a_killed_download_does_not_count(tmp_path, broker, monkeypatch):
    jar = min(read_lock(), key=lambda jar: (jars_dir() / jar.filename).stat().st_size)
    lock = write_lock(tmp_path / "lock.toml", [(jar, jar.sha256)])
    publish(jar, tmp_path / "repository")
    left = tmp_path / "jars" / f"{ASIDE}killed"
    left.mkdir(parents=True)
    (left / jar.filename).write_bytes(b"half")
    with mirror(tmp_path / "repository", tmp_path, monkeypatch) as asked:
        assert verified_classpath(lock, tmp_path / "jars") == [tmp_path / "jars" / jar.filename]
    assert any(path.endswith(jar.filename) for path in asked)
    assert not left.exists()


def test_the_lock_names_the_kafka_that_is_promised():
    versions = {jar.artifact: jar.version for jar in read_lock(LOCK)}
    assert (versions["kafka_2.13"], versions["kafka-clients"]) == ("4.3.1", "4.3.1")


# Java


def java_home(root, version):
    java = root / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-01' >&2\n")
    java.chmod(0o755)
    return root


@pytest.mark.parametrize(("version", "major"), [("1.8.0_392", "8"), ("11.0.21", "11"), ("16", "16")])
def test_an_old_java_home_is_passed_over_with_the_reason(tmp_path, monkeypatch, caplog, version, major):
    monkeypatch.setenv("JAVA_HOME", str(java_home(tmp_path, version)))
    assert tmp_path not in find_java().parents
    assert f"JAVA_HOME={tmp_path} is not used" in caplog.text
    assert f"it is Java {major} and Kafka needs 17" in caplog.text


def test_a_java_home_without_java_is_passed_over_with_the_reason(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert tmp_path not in find_java().parents
    assert "its bin/java does not run" in caplog.text


@pytest.mark.parametrize("version", ["17.0.9", "25.0.2"])
def test_a_new_enough_java_home_is_used(tmp_path, monkeypatch, version):
    monkeypatch.setenv("JAVA_HOME", str(java_home(tmp_path, version)))
    assert find_java() == tmp_path / "bin" / "java"


def test_properties_survive_backslashes_and_other_alphabets(tmp_path):
    write_properties(tmp_path / "p", {"log.dirs": "C:\\Zürich"})
    assert (tmp_path / "p").read_text() == "log.dirs=C:\\\\Z\\u00fcrich\n"
