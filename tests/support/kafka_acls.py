"""`kafka-acls --add` for the tests: Kafka's own class for it is in none of the broker's jars."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from include.kafka.rights import OPTIONS, Right
from include.local.rights import grant


def administrator(properties: str) -> dict[str, str]:
    """librdkafka's settings for the login that Kafka's own tools read from a file of properties."""
    login = dict(re.findall(r"^([\w.]+)=(.*)$", properties, re.MULTILINE))
    username, password = re.findall(r'(?:username|password)="([^"]*)"', login["sasl.jaas.config"])
    return {
        "broker.address.family": "v4",
        "security.protocol": login["security.protocol"],
        "sasl.mechanism": login["sasl.mechanism"],
        "sasl.username": username,
        "sasl.password": password,
        "ssl.ca.location": login["ssl.truststore.location"],
    }


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command that adds rights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap-server")
    parser.add_argument("--command-config", type=Path)
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", required=True)
    parser.add_argument("--resource-pattern-type", choices=["literal", "prefixed"], default="literal")
    for resource, option in OPTIONS.items():
        parser.add_argument(option, dest=resource)
    return parser.parse_args(words)


def rights_of(options: argparse.Namespace) -> dict[str, list[Right]]:
    """The rights that a command adds, by the user."""
    return {
        options.allow_principal.removeprefix("User:"): [
            Right(resource, name, operation, options.resource_pattern_type == "prefixed")
            for resource in OPTIONS
            if (name := getattr(options, resource))
            for operation in options.operation
        ]
    }


def main() -> None:
    """Add the rights that the arguments name."""
    options = parse(sys.argv[1:])
    settings = administrator(options.command_config.read_text())
    grant({**settings, "bootstrap.servers": options.bootstrap_server}, rights_of(options))


if __name__ == "__main__":
    main()
