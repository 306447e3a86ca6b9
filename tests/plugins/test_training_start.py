"""A trainer starts at once: until then its task has imported neither MLflow nor torch, which take seconds."""

from __future__ import annotations

import json
from collections.abc import Callable

from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.storage.state import state_dir
from tests.support.administrator import change_topic
from tests.support.mlflow_database import put_database
from tests.support.operators import DagRun, context_of, ensure_topics, produce_batch
from tests.support.processes import run_python

# Ends where the trainer would start.
TASK = """
import json, os, sys

from millrace.operators import FreezeRangesOperator, TrainModelOperator
from tests.support.operators import DagRun, context_of

def on_event(event, arguments):
    if event == "subprocess.Popen" and "include.training.worker" in arguments[1]:
        print(json.dumps(sorted({module.partition(".")[0] for module in sys.modules})), flush=True)
        os._exit(0)

context, name = context_of(DagRun("d", "r")), sys.argv[1]
frozen = FreezeRangesOperator(task_id="freeze", pipeline=name, step="train", min_new_samples=0).execute(context)
sys.addaudithook(on_event)
TrainModelOperator(task_id="train", pipeline=name, ranges=frozen["ranges"], start=frozen["start"]).execute(context)
"""


def test_the_trainer_starts_before_its_task_imports_mlflow(
    kafka: KafkaConnection, new_pipeline: Callable[..., Pipeline]
) -> None:
    pipeline = new_pipeline()
    put_database(state_dir())
    ensure_topics(pipeline)
    produce_batch(pipeline, records=20).execute(context_of(DagRun("d", "r")))
    # A limit, which is compared with what only MLflow knows.
    change_topic(kafka, pipeline.samples_topic, "retention.ms", "3600000")

    done = run_python("-c", TASK, pipeline.name)

    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert "confluent_kafka" in imported
    assert {"mlflow", "torch", "pandas"} & imported == set()
