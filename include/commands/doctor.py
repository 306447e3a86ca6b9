"""`millrace doctor`: all that somebody who helps needs to know, in one output without a secret."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path

import psutil
import typer

from include.backlogs import STEPS, waiting
from include.commands.console import FAILED
from include.commands.kafka_access import BootstrapServers, find_kafka, find_registry
from include.definition.files import InvalidPipeline, load_pipelines, pipelines_folder
from include.definition.pipeline import Pipeline
from include.errors import MillraceError
from include.kafka.connection import KafkaConnection
from include.kafka.environment import current_environment
from include.kafka.login import log_in
from include.kafka.topics import describe_topics, topic_settings
from include.local.broker.java import find_java
from include.local.environment import Layout
from include.local.stack import attach
from include.planning.live import count_brokers
from include.registry.tracking import open_registry, tracking_uri
from include.registry.versions import champion
from include.storage.state import state_dir

PACKAGES = (
    "millrace",
    "apache-airflow",
    "apache-airflow-providers-apache-kafka",
    "confluent-kafka",
    "torch",
    "numpy",
    "mlflow",
    "pyarrow",
    "pillow",
)
# Settings that are no secrets. Of all others only the names are shown.
SHOWN = ("MILLRACE_STATE", "MILLRACE_ENVIRONMENT", "MILLRACE_PIPELINES", "MILLRACE_JARS", "AIRFLOW_HOME")
NAMED = ("MILLRACE_", "AIRFLOW_", "AIRFLOW__", "MLFLOW_", "KAFKA_")
TOPIC_SETTINGS = ("retention.ms", "cleanup.policy", "max.message.bytes", "min.insync.replicas")

Facts = Iterator[tuple[str, str]]


def doctor(
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """Show versions, settings, pipelines, Kafka, models, backlogs and the local stack; exit status 1 if one is broken.

    No secret is shown: of variables that may hold one only the name is.
    """
    pipelines, invalid = load_pipelines()
    sections: list[tuple[str, Callable[[], Facts]]] = [
        ("Machine", _machine),
        ("Packages", _packages),
        ("Settings", _settings),
        ("Local stack", _local_stack),
        ("Models", partial(_models, pipelines)),
        ("Pipelines", partial(_pipelines, pipelines, invalid)),
    ]
    connections = sorted({pipeline.connection_of(step) for pipeline in pipelines for step in STEPS})
    sections += [(f"Kafka by {name}", partial(_kafka, name, bootstrap_servers, pipelines)) for name in connections]
    broken = [title for title, facts in sections if not _print(title, facts)]
    if invalid:
        broken.append("Pipelines")
    typer.echo(f"\nBroken: {', '.join(broken)}." if broken else "\nNothing is broken.")
    if broken:
        raise typer.Exit(FAILED)


def _print(title: str, facts: Callable[[], Facts]) -> bool:
    """Print a section; False if it ended with an error, which is its last line."""
    typer.echo(f"\n{title}")
    try:
        for name, value in facts():
            typer.echo(f"  {name:<38} {value}")
    except MillraceError as error:
        typer.echo(f"  BROKEN {type(error).__name__}: {error}")
        return False
    return True


def _machine() -> Facts:
    state = state_dir()
    yield "system", platform.platform()
    yield "Python", f"{platform.python_version()} at {sys.prefix}"
    yield "CPUs, memory", f"{os.cpu_count()}, {psutil.virtual_memory().total / 2**30:.1f} GiB"
    yield "state", f"{state}, {shutil.disk_usage(_existing(state)).free / 2**30:.1f} GiB free"
    yield "Java", str(find_java())


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def _packages() -> Facts:
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"


def _settings() -> Facts:
    yield "environment", current_environment()
    yield "pipelines folder", str(pipelines_folder())
    for name in sorted(os.environ):
        if name in SHOWN:
            yield name, os.environ[name]
        elif name.startswith(NAMED):
            yield name, "set"


def _local_stack() -> Facts:
    running = attach(Layout(state_dir()))
    yield "runs", "no" if running is None else f"{running.record.url}, Kafka {running.record.bootstrap_servers}"


def _models(pipelines: Iterable[Pipeline]) -> Facts:
    registry = open_registry()
    yield "MLflow", "a server" if tracking_uri().startswith("http") else "a database"
    for pipeline in pipelines:
        found = champion(registry, pipeline.name)
        yield f"champion of {pipeline.name}", "none yet" if found is None else f"version {found.number}"


def _pipelines(pipelines: Iterable[Pipeline], invalid: Iterable[InvalidPipeline]) -> Facts:
    for pipeline in pipelines:
        yield pipeline.name, f"{pipeline.format.kind} -> {pipeline.model.kind}"
    for item in invalid:
        yield item.path.stem, f"BROKEN {'; '.join(item.faults)}"


def _kafka(name: str, bootstrap_servers: str | None, pipelines: Iterable[Pipeline]) -> Facts:
    connection = find_kafka(name, bootstrap_servers)
    log_in(connection)
    yield "servers, brokers up", f"{connection.bootstrap_servers}, {count_brokers(connection)}"
    for pipeline in pipelines:
        if name in {pipeline.connection_of(step) for step in STEPS}:
            yield from _topics(connection, pipeline)
            yield from _backlogs(connection, name, pipeline)


def _topics(connection: KafkaConnection, pipeline: Pipeline) -> Facts:
    names = [*(spec.name for spec in pipeline.topic_specs()), *pipeline.external_topics]
    found = describe_topics(connection, names)
    for topic in names:
        if topic not in found:
            yield topic, "does not exist"
            continue
        settings = topic_settings(connection, topic)
        layout = f"{len(found[topic].partitions)} partitions x {found[topic].replication}"
        yield topic, ", ".join([layout, *(f"{setting}={settings.get(setting)}" for setting in TOPIC_SETTINGS)])


def _backlogs(connection: KafkaConnection, name: str, pipeline: Pipeline) -> Facts:
    if pipeline.registry is not None:
        connection = replace(connection, registry=find_registry(pipeline.registry.connection))
    for step in STEPS:
        if pipeline.connection_of(step) != name:
            continue
        try:
            found = waiting(connection, pipeline, step)
        except MillraceError as error:
            yield f"{pipeline.name} waits for {step}", f"unknown, {type(error).__name__}: {error}"
        else:
            yield f"{pipeline.name} waits for {step}", f"{found.records:,} records at least"
