"""`millrace topic`: topics for other programs' records, which no pipeline creates."""

import re
from typing import Annotated

import typer

from include.commands.console import CommandRefused, exit_on_error, say
from include.commands.kafka_access import BootstrapServers, find_kafka
from include.errors import amount
from include.kafka.connection import KafkaConnection
from include.kafka.topics import BROKER_DEFAULT, TopicSpec, describe_topics, ensure_topics, topic_settings
from include.local.environment import CONNECTION

NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")

app = typer.Typer(no_args_is_help=True, help="Create topics that other programs fill.")


@app.callback()
def options() -> None:
    """Create topics that other programs fill."""


@app.command()
def create(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic's name.")],
    partitions: Annotated[int, typer.Option(min=1, max=10_000, help="How many partitions.")] = 1,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, max=32, help="Copies of each partition.", show_default="the cluster's default")
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A setting of the topic by its Kafka name, such as retention.ms=604800000, "
            "max.message.bytes=4194304 or compression.type=gzip; several times for several.",
            show_default=False,
        ),
    ] = None,
    connection: Annotated[
        str, typer.Option(help="The Airflow connection, as far as it is in an environment variable.")
    ] = CONNECTION,
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """Create a topic. One that exists stays as it is; the command fails if it differs from what is asked for."""
    with exit_on_error():
        if not NAME.fullmatch(topic) or topic in (".", ".."):
            raise CommandRefused(
                f"Topic {topic!r} is no name that Kafka takes: use letters, digits, '.', '_' and '-', 249 at most."
            )
        spec = TopicSpec(topic, partitions, replication_factor or BROKER_DEFAULT, _settings(config or []))
        kafka = find_kafka(connection, bootstrap_servers)
        created = ensure_topics(kafka, [spec])[topic] == "created"
        if not created:
            _refuse_difference(kafka, spec)
        info = describe_topics(kafka, [topic])[topic]
    how = f"with {amount(partitions, 'partition')}, replication factor {info.replication}"
    say(f"{'Created' if created else 'There is'} topic {topic} at {kafka.bootstrap_servers}, {how}.")
    typer.echo(topic)


def _settings(config: list[str]) -> dict[str, str]:
    settings = {}
    for text in config:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise CommandRefused(f"Setting {text!r} of --config has no name and value: write NAME=VALUE.")
        settings[name.strip()] = value.strip()
    return settings


def _refuse_difference(kafka: KafkaConnection, spec: TopicSpec) -> None:
    """Refuse a topic that is not as it is asked for: adding partitions, say, moves keys to other partitions."""
    info = describe_topics(kafka, [spec.name])[spec.name]
    effective = topic_settings(kafka, spec.name) if spec.config else {}
    copies = info.replication if spec.replication == BROKER_DEFAULT else spec.replication
    pairs = {
        "partitions": (len(info.partitions), spec.partitions),
        "replication factor": (info.replication, copies),
        **{name: (effective.get(name, "no such setting"), value) for name, value in spec.config.items()},
    }
    differing = [f"{name} {there}, not {asked}" for name, (there, asked) in pairs.items() if there != asked]
    if differing:
        raise CommandRefused(
            f"Topic {spec.name} exists at {kafka.bootstrap_servers} with {'; '.join(differing)}, and stays as it is: "
            "change it with Kafka's tools, or take another name."
        )
