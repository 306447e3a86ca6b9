"""Recognisable secrets of a stack's connections, and the places where any of them would be a leak."""

from __future__ import annotations

import json
import secrets
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, get_args
from uuid import uuid4

import httpx
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from include.definition.files import PIPELINES
from include.definition.tables import WorkStep
from include.local.airflow import USERNAME
from include.local.api import NOT_MAPPED
from include.local.broker.security import connection_name
from tests.support.consumers import TIMEOUT_S, log_ends
from tests.support.stacks import runs_of

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.local.stack import Stack

# Between two looks at all processes; a shorter-lived one is missed.
WATCH_S = 0.2
# Of librdkafka's settings; a connection that is stored in Airflow's database has them all.
KAFKA_SECRETS = (
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "sasl.jaas.config",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.client.secret",
)
# The connection in Airflow's database.
STORED = "stored"
# Values of the API's parameters that do not depend on the run.
ANYWHERE = {
    "connection_id": STORED,
    "map_index": NOT_MAPPED,
    "task_try_number": 1,
    "try_number": 1,
    "xcom_key": "return_value",
}
# The bundled pipeline whose records are signed, the one whose steps have connections of their own, and the one whose
# champion is watched and whose predictions have their best labels.
SIGNED, SEPARATE, WATCHED = "passengers", "digits", "languages"
TOP_K = 3


def secured_pipelines(folder: Path) -> Path:
    """Copies of the bundled pipelines that use what a secured stack has."""
    folder.mkdir()
    connections = "".join(f'{step} = "{connection_name(step)}"\n' for step in get_args(WorkStep))
    added = {
        SIGNED: '\n[signing]\nconnection = "signing"\n',
        SEPARATE: f"\n[connections]\n{connections}",
        WATCHED: f"\n[prediction]\ntop_k = {TOP_K}\n\n[watch]\nmax_drift = 0.5\n",
    }
    for file in PIPELINES.glob("*.toml"):
        (folder / file.name).write_text(file.read_text() + added.get(file.stem, ""))
    return folder


@dataclass(frozen=True)
class Canaries:
    """Secrets that a stack is started with, each of them random and by a name that says where it belongs."""

    signing: str = field(default_factory=lambda: secrets.token_hex(32))
    retired: str = field(default_factory=lambda: secrets.token_hex(32))
    mlflow: str = field(default_factory=lambda: secrets.token_hex(32))
    stored: Mapping[str, str] = field(default_factory=lambda: {name: secrets.token_hex(16) for name in KAFKA_SECRETS})

    def environment(self) -> dict[str, str]:
        """The variables of the stack: the signing keys as Airflow's connection `signing`, and MLflow's login."""
        connection = {
            "conn_type": "generic",
            "login": "current",
            "password": self.signing,
            "extra": {"retired_secrets": {"old": self.retired}},
        }
        return {
            "AIRFLOW_CONN_SIGNING": json.dumps(connection),
            "MLFLOW_TRACKING_USERNAME": "millrace",
            "MLFLOW_TRACKING_PASSWORD": self.mlflow,
        }

    def of(self, stack: Stack) -> dict[str, bytes]:
        """All secrets of the stack, those included that it has made itself."""
        security = stack.layout.broker_data / "security"
        found = {"signing": self.signing, "retired": self.retired, "mlflow": self.mlflow, "airflow": stack.password}
        found |= {f"stored {name}": secret for name, secret in self.stored.items()}
        found |= {
            f"kafka {user}": secret for user, secret in json.loads((security / "passwords.json").read_bytes()).items()
        }
        found["broker's key"] = (security / "broker.pem").read_text().splitlines()[1]
        return {name: secret.encode() for name, secret in found.items()}


def shown(secrets: Mapping[str, bytes], text: bytes) -> set[str]:
    """The names of the secrets that are in a text."""
    return {name for name, secret in secrets.items() if secret in text}


def files_with(secrets: Mapping[str, bytes], folder: Path) -> dict[str, tuple[int, set[str]]]:
    """The files below a folder that have a secret: their modes and the names of the secrets, by their paths."""
    found = {}
    for file in folder.rglob("*"):
        # Kafka's indexes end with megabytes of zeros.
        if file.is_file() and (names := shown(secrets, file.read_bytes().rstrip(b"\0"))):
            found[str(file.relative_to(folder))] = (stat.S_IMODE(file.stat().st_mode), names)
    return found


def every_record(kafka: KafkaConnection) -> Iterator[tuple[str, bytes]]:
    """Key, value and headers of every record of every topic, by the topic; of Kafka's own, and aborted ones, too."""
    settings = {
        **kafka.settings,
        "group.id": f"independent-{uuid4()}",
        "isolation.level": "read_uncommitted",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 10,
    }
    consumer = Consumer(settings)
    try:
        topics = consumer.list_topics(timeout=TIMEOUT_S).topics
        ends = {
            (name, partition): end
            for name, topic in topics.items()
            for partition, end in log_ends(kafka, name, list(topic.partitions)).items()
        }
        consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in ends])
        deadline = time.monotonic() + TIMEOUT_S
        while ends:
            assert time.monotonic() < deadline, f"{sorted(ends)} were not read to their ends"
            if (message := consumer.poll(0.5)) is None:
                continue
            if (error := message.error()) is None:
                headers = [part for name, value in message.headers() or [] for part in (name.encode(), value or b"")]
                yield message.topic(), b"\0".join([message.key() or b"", message.value() or b"", *headers])
            elif error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            elif message.offset() >= ends[message.topic(), message.partition()]:
                del ends[message.topic(), message.partition()]
    finally:
        consumer.close()


def every_answer(stack: Stack, dag_ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """What Airflow's API answers, which its pages show: each path with each task of the latest runs of some DAGs."""
    with httpx.Client(base_url=stack.record.url, timeout=TIMEOUT_S, trust_env=False) as client:
        token = client.post("/auth/token", json={"username": USERNAME, "password": stack.password}).json()
        client.headers["Authorization"] = f"Bearer {token['access_token']}"
        templates = [
            path
            for path, methods in client.get("/openapi.json").json()["paths"].items()
            if "get" in methods and not path.endswith(("/wait", "/logout", "/login"))
        ]
        paths = set()
        for dag_id in dag_ids:
            run_id = runs_of(stack.api, dag_id)[-1]["dag_run_id"]
            for task in stack.api.tasks(dag_id, run_id):
                known = {"dag_id": dag_id, "dag_run_id": run_id, "task_id": task["task_id"], **ANYWHERE}
                paths |= {
                    path.format_map(known)
                    for path in templates
                    if known.keys() >= {name for _, name, _, _ in Formatter().parse(path) if name}
                }
        for path in sorted(paths):
            answer = client.get(path, params={"limit": 100})
            if answer.is_success:
                yield path, answer.content


@contextmanager
def watched_processes() -> Iterator[dict[bytes, bytes]]:
    """The arguments of every process that ran within the block, and its environment where this user may read it."""
    seen: dict[bytes, bytes] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(WATCH_S):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    arguments = (process / "cmdline").read_bytes()
                    if arguments not in seen:
                        seen[arguments] = b""
                        seen[arguments] = (process / "environ").read_bytes()

    thread = threading.Thread(target=watch, name="watch-processes", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
