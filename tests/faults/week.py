"""An unattended week in the middle of a pipeline: what was there expires, is cut, compacted, widened and made again."""

from __future__ import annotations

import json
import logging
import os
import sys
from unittest.mock import patch

from include.kafka.connection import KafkaConnection
from include.local.broker import running_cluster
from include.storage.state import PROJECT_ROOT
from tests.faults.rows import Row, Setting

# What takes a broker days takes this one a minute or less.
HASTE: dict[str, str | int | bool] = {
    "offsets.retention.minutes": 1,
    "offsets.retention.check.interval.ms": 1000,
    # Longer than any step holds an id without using it, or a slow machine would have its own step fenced.
    "transactional.id.expiration.ms": 45_000,
    "transaction.remove.expired.transaction.cleanup.interval.ms": 1000,
    "producer.id.expiration.ms": 45_000,
    "log.retention.check.interval.ms": 200,
    "log.cleaner.backoff.ms": 200,
}


def run(setting: Setting) -> list[Row]:
    """Let a week's events happen to pipelines that have begun, and count what their next runs do.

    The short version deletes the group whose offsets the long one waits for to expire, which takes a minute.
    """
    pipelines = setting.folder / "pipelines"
    pipelines.mkdir()
    with running_cluster(setting.folder / "broker", nodes=1, properties=HASTE) as cluster:
        settings = {"bootstrap.servers": cluster.bootstrap_servers}
        environment = {
            "MILLRACE_PIPELINES": str(pipelines),
            "MILLRACE_STATE": str(setting.folder / "state"),
            "AIRFLOW_CONN_KAFKA_DEFAULT": json.dumps({"conn_type": "kafka", "extra": settings}),
            # Airflow reads its home when it is first imported, and must not find the developer's own.
            "AIRFLOW_HOME": os.environ.get("AIRFLOW_HOME") or str(setting.folder / "airflow"),
        }
        with patch.dict(os.environ, environment), patch.object(sys, "path", [*sys.path, str(PROJECT_ROOT / "plugins")]):
            # Its operators import Airflow, whose log would bury the rows.
            from tests.faults.while_unattended import events

            logging.disable(logging.WARNING)
            try:
                return events(KafkaConnection(settings), setting)
            finally:
                logging.disable(logging.NOTSET)
