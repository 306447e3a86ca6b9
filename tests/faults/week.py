"""An unattended week of a pipeline: offsets expire, topics are cut, compacted, widened and recreated."""

from __future__ import annotations

import json
import os
import sys
from unittest.mock import patch

from include.kafka.connection import KafkaConnection
from include.local.broker import running_cluster
from include.storage.state import PROJECT_ROOT
from tests.faults.rows import Row, Setting

# This broker does within a minute what takes others days.
HASTE: dict[str, str | int | bool] = {
    "offsets.retention.minutes": 1,
    "offsets.retention.check.interval.ms": 1000,
    # Longer than any step keeps an id unused, even on a slow machine: an expired id fences its owner.
    "transactional.id.expiration.ms": 60_000,
    "transaction.remove.expired.transaction.cleanup.interval.ms": 1000,
    "producer.id.expiration.ms": 60_000,
    "log.retention.check.interval.ms": 200,
    "log.cleaner.backoff.ms": 200,
}


def run(setting: Setting) -> list[Row]:
    """Inflict the events of a week on pipelines that have worked before, and count what their next runs publish.

    The long version waits a minute for a group's offsets to expire; the short one deletes the group.
    """
    pipelines = setting.folder / "pipelines"
    pipelines.mkdir()
    with running_cluster(setting.folder / "broker", nodes=1, properties=HASTE) as cluster:
        settings = {"bootstrap.servers": cluster.bootstrap_servers}
        environment = {
            "MILLRACE_PIPELINES": str(pipelines),
            "MILLRACE_STATE": str(setting.folder / "state"),
            "AIRFLOW_CONN_KAFKA_DEFAULT": json.dumps({"conn_type": "kafka", "extra": settings}),
            # Airflow reads these when it is imported first. Its home must not be the developer's own, and its log would
            # hide the rows.
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "AIRFLOW_HOME": os.environ.get("AIRFLOW_HOME") or str(setting.folder / "airflow"),
        }
        with patch.dict(os.environ, environment), patch.object(sys, "path", [*sys.path, str(PROJECT_ROOT / "plugins")]):
            # It imports Airflow.
            from tests.faults.while_unattended import events

            return events(KafkaConnection(settings), setting)
