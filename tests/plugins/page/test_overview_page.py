"""The overview behind Airflow's login, of pipelines on a real broker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from sqlalchemy import update

from include.definition.files import pipelines_folder
from include.definition.pipeline import Pipeline
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import ensure_topics
from include.storage.state import PROJECT_ROOT, state_dir
from millrace.page.render import HERE
from millrace.page.site import Site
from tests.support.mlflow_database import put_database
from tests.support.page import Person, Seen, Visit, wait_for
from tests.support.producers import Record, produce

SCRIPT = "<script>alert(1)</script>"
HOLD = {
    "finding": f"{SCRIPT} of 50 requests",
    "leading": "wrong-size",
    "reasons": {"wrong-size": 40},
    "run": "x.predict/manual__0",
    "range": {"topic": "t", "topic_id": "i", "partition": 0, "start": 0, "end": 50},
}


@pytest.fixture
def pipeline(kafka: KafkaConnection, new_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A pipeline with its topics and without a model."""
    put_database(state_dir())
    made = new_pipeline(description=json.dumps(f"What is {SCRIPT}?"))
    ensure_topics(kafka, made.topic_specs())
    return made


def hold(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    key = LedgerKey(kafka.environment, pipeline.name, "predict", "hold")
    with TransactionalWriter(kafka, f"{pipeline.name}.test") as writer, writer.transaction():
        writer.write_ledger(key, HOLD)


@pytest.mark.parametrize("path", ["/", "/static/page.css", "/static/page.js", "/static/icon.svg", "/no-such-page"])
def test_nobody_sees_anything_without_a_login(visit: Visit, path: str) -> None:
    answer = visit(None).get(path)

    assert answer.status_code in (401, 404)
    assert answer.status_code == 401 or path == "/no-such-page"
    assert "Content-Security-Policy" in answer.headers


def test_the_card_shows_the_flow_and_leads_to_dags_and_runs(
    kafka: KafkaConnection, pipeline: Pipeline, known_dags: Callable[..., None], visit: Visit
) -> None:
    known_dags(pipeline, train="success", predict="failed")
    produce(kafka, pipeline.requests_topic, [Record(timestamp_ms=int(time.time() * 1000) - 180_000) for _ in range(3)])

    seen = visit("VIEWER").see()

    assert "3 wait" in seen.text
    assert "the oldest for 3 min" in seen.text
    assert "none yet" in seen.text
    assert "Needs attention" in seen.text
    assert f"{pipeline.name}.predict failed" in seen.text
    assert f"/dags/{pipeline.name}.train" in seen.links()
    assert f"/dags/{pipeline.name}.predict/runs/manual__1" in seen.links()
    assert seen.active() == []


def pause(pipeline: Pipeline, workflow: str, *, paused: bool) -> None:
    with create_session() as session:
        session.execute(
            update(DagModel).where(DagModel.dag_id == f"{pipeline.name}.{workflow}").values(is_paused=paused)
        )


def badges(seen: Seen) -> list[str]:
    """The classes of all badges."""
    return [value for _, attributes in seen.elements if (value := attributes.get("class") or "").startswith("badge")]


def test_requests_that_wait_behind_a_paused_dag_and_new_dead_letters_need_attention(
    kafka: KafkaConnection,
    pipeline: Pipeline,
    known_dags: Callable[..., None],
    visit_site: Callable[[Site, str | None], Person],
) -> None:
    known_dags(pipeline)

    def looked() -> Seen:  # with nothing remembered
        return visit_site(Site(), "VIEWER").see()

    pause(pipeline, "predict", paused=True)
    idle = looked()
    assert "none needs attention" in idle.text
    assert "badge warn" not in badges(idle)

    produce(kafka, pipeline.requests_topic, [Record(b"x") for _ in range(3)])
    waits = looked()
    assert f"1 needs attention: {pipeline.name}" in waits.text
    assert "Paused, 3 wait" in waits.text
    assert badges(waits).count("badge warn") == 2  # of the card and of the DAG

    pause(pipeline, "predict", paused=False)
    assert "none needs attention" in looked().text

    old = int(time.time() * 1000) - 7_200_000
    produce(kafka, pipeline.dead_letters_topic, [Record(b"x", timestamp_ms=old)])
    assert "none needs attention" in looked().text
    produce(kafka, pipeline.dead_letters_topic, [Record(b"x")])
    died = looked()
    assert f"1 needs attention: {pipeline.name}" in died.text
    assert "1 dead letter in the last hour" in died.text


def test_a_person_who_may_read_no_dag_of_a_pipeline_does_not_see_it(pipeline: Pipeline, visit: Visit) -> None:
    # Airflow has no DAG of it.
    assert pipeline.name not in visit("ADMIN").see().text


def test_a_hold_is_shown_to_all_and_its_button_to_who_may_trigger_the_dag(
    kafka: KafkaConnection, pipeline: Pipeline, known_dags: Callable[..., None], visit: Visit
) -> None:
    known_dags(pipeline)
    hold(kafka, pipeline)

    reader, user = visit("VIEWER").see(), visit("USER").see()

    for seen in (reader, user):
        assert "The predictions are held" in seen.text
        assert f"{SCRIPT} of 50 requests" in seen.text
        assert seen.active() == []
    assert "Acknowledge" in user.text
    assert "Acknowledge" not in reader.text


def test_the_last_figures_of_a_watched_model_are_a_table_with_their_limits(
    kafka: KafkaConnection, pipeline: Pipeline, known_dags: Callable[..., None], visit: Visit
) -> None:
    file = pipelines_folder() / f"{pipeline.name}.toml"
    file.write_text(f"{file.read_text()}\n[watch]\nmax_drift = 0.375\n")
    known_dags(pipeline)
    unknown: dict[str, None] = dict.fromkeys(("prediction_drift", "score", "calibration_error"))
    drifts = {"input_drift": 0.625, "inputs": {SCRIPT: 0.625, "mean": 0.5}, "answers": {}}
    counts = {"version": 3, "samples": 200, "labelled": 0}
    entry = {**counts, **drifts, **unknown, "metric": "accuracy", "over": ["input_drift"], "before": [], "run": "r"}
    key = LedgerKey(kafka.environment, pipeline.name, "watch", "3")
    with TransactionalWriter(kafka, f"{pipeline.name}.test") as writer, writer.transaction():
        writer.write_ledger(key, entry)

    seen = visit("VIEWER").see(f"/{pipeline.name}/overview")

    assert "How version 3 serves" in seen.text
    assert f"Drift of the inputs 0.6250 0.3750 200 {SCRIPT}" in seen.text
    assert "Live score, accuracy" in seen.text
    assert seen.active() == []


def look_result(version: int, drift: float | None) -> dict[str, Any]:
    known = {"version": version, "metric": "accuracy", "input_drift": drift, "prediction_drift": 0.125}
    return {**known, "score": None, "calibration_error": None, "inputs": {SCRIPT: drift}, "over": []}


def test_the_figures_of_a_watched_model_are_drawn_by_look_for_who_may_see_results(
    pipeline: Pipeline, known_dags: Callable[..., None], returned: Callable[..., None], visit: Visit
) -> None:
    file = pipelines_folder() / f"{pipeline.name}.toml"
    file.write_text(f"{file.read_text()}\n[watch]\nmax_drift = 0.375\n")
    known_dags(pipeline)
    now = datetime.now(UTC)
    values = [look_result(3, 0.25), look_result(3, None), {"version": SCRIPT}, "s3://elsewhere", look_result(4, 0.5)]
    for number, value in enumerate(values):
        at = now - timedelta(hours=10 - number)
        returned(pipeline, "watch", "watch_model", at, at, value)

    seen = visit("VIEWER").see(f"/{pipeline.name}/overview")

    labels = [attributes.get("aria-label") for tag, attributes in seen.elements if tag == "svg"]
    assert "Drift, by look (UTC): inputs ends at 0.5, answers ends at 0.125, limit ends at 0.375" in labels
    assert not any("Calibration" in (label or "") for label in labels)
    assert "v4 0.5 0.125 0.375" in seen.text  # the table
    assert seen.active() == []


def test_what_waited_is_drawn_by_what_the_runs_of_predictions_began_with(
    kafka: KafkaConnection,
    pipeline: Pipeline,
    known_dags: Callable[..., None],
    returned: Callable[..., None],
    visit: Visit,
) -> None:
    known_dags(pipeline)
    now_s = int(time.time())
    produce(kafka, pipeline.requests_topic, [Record(timestamp_ms=(now_s - 7200) * 1000) for _ in range(3)])
    ranges = [item.to_dict() for item in freeze_ranges(kafka, pipeline.requests_topic)]
    at = datetime.fromtimestamp(now_s - 10, UTC)
    returned(pipeline, "predict", "freeze_ranges", at, None, {"ranges": ranges, "sets": [], "new_samples": 3})
    returned(pipeline, "predict", "freeze_ranges", at - timedelta(hours=12), at, "nothing that a task returns")

    seen = visit("VIEWER").see(f"/{pipeline.name}/overview")

    (label,) = [
        label
        for tag, attributes in seen.elements
        if tag == "svg" and (label := attributes.get("aria-label") or "").startswith("Waiting requests")
    ]
    assert label.endswith("waiting ends at 3")
    labels = [attributes.get("aria-label") for tag, attributes in seen.elements if tag == "svg"]
    assert "Requests, each hour: ≈ 3 requests in all, ≈ 3 at most" in labels
    assert "Dead letters, each hour: 0 dead letters in all, 0 at most" in labels
    assert "offsets also count the markers of transactions" in seen.text


def test_every_answer_forbids_scripts_and_other_servers(pipeline: Pipeline, visit: Visit) -> None:
    for path in ("/", "/static/page.css", "/no-such-page"):
        headers = visit("VIEWER").get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert visit("VIEWER").get("/").headers["Cache-Control"] == "no-store"


def test_a_broker_that_is_down_is_shown_in_two_seconds_with_all_else(
    no_broker: KafkaConnection,
    pipeline: Pipeline,
    known_dags: Callable[..., None],
    visit_site: Callable[[Site, str | None], Person],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = {"conn_type": "kafka", "extra": dict(no_broker.settings)}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps(connection))
    known_dags(pipeline, train="success")
    visit_site(Site(), "VIEWER").get()  # imports

    def seconds() -> float:
        person, began = visit_site(Site(), "VIEWER"), time.monotonic()
        seen = wait_for(lambda: found if "No Kafka broker" in (found := Seen(person.get().text)).text else None)
        took = time.monotonic() - began
        assert no_broker.bootstrap_servers in seen.text
        assert f"/dags/{pipeline.name}.train/runs/manual__1" in seen.links()
        return took

    # The best of a few: other tests take the processor meanwhile.
    assert min(seconds() for _ in range(3)) < 2


def test_the_first_content_of_twenty_pipelines_comes_in_half_a_second(
    pipeline: Pipeline, known_dags: Callable[..., None], visit: Visit
) -> None:
    known_dags(pipeline)
    file = pipelines_folder() / f"{pipeline.name}.toml"
    for number in range(19):
        copy = file.with_name(f"{pipeline.name}_{number}.toml")
        shutil.copy(file, copy)
        known_dags(pipeline.model_copy(update={"name": copy.stem}))
    person = visit("VIEWER")

    def asked() -> float:
        began = time.perf_counter()
        assert person.get().text.count("<article") == 20
        return time.perf_counter() - began

    asked()  # the files are parsed once
    # The best of a few: other tests take the processor meanwhile.
    assert min(asked() for _ in range(5)) < 0.5


def test_an_invalid_pipeline_file_is_named(pipeline: Pipeline, visit: Visit) -> None:
    (pipelines_folder() / "broken.toml").write_text(f'description = "{SCRIPT}"')

    seen = visit("VIEWER").see()

    assert "broken.toml is no valid pipeline" in seen.text
    assert seen.active() == []


def test_an_invalid_pipeline_file_is_shown_to_who_may_see_import_errors_or_read_its_dags(
    pipeline: Pipeline, known_dags: Callable[..., None], visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_dags(pipeline)
    for name in (pipeline.name, "broken"):
        (pipelines_folder() / f"{name}.toml").write_text("description = 1")
    own, other = f"{pipeline.name}.toml is no valid pipeline", "broken.toml is no valid pipeline"

    may_all = visit("VIEWER").see().text
    assert own in may_all
    assert other in may_all

    may_nothing = visit("").see().text  # somebody who is logged in and has no role
    assert "There is no pipeline whose DAGs you may read" in may_nothing
    assert "no valid pipeline" not in may_nothing

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_view", lambda _, *, access_view, user: False)  # noqa: ARG005
    may_read_dags = visit("VIEWER").see().text
    assert own in may_read_dags
    assert other not in may_read_dags


def test_the_plugins_file_imports_nothing_for_the_processes_that_have_no_page() -> None:
    program = (
        "import sys, airflow.plugins_manager, airflow.configuration; before = set(sys.modules); import millrace_page; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT / "plugins", capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "['millrace_page']"


def test_the_app_imports_no_torch_and_no_client_of_kafka_or_mlflow() -> None:
    program = (
        "import sys; sys.path[:0] = ['.', 'plugins']; from millrace_page import MillracePlugin; "
        "(found,) = MillracePlugin().fastapi_apps; "
        "print([name for name in ('torch', 'confluent_kafka', 'mlflow', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_templates_and_files_lie_beside_the_code_and_name_no_other_server() -> None:
    for file in (*(HERE / "templates").iterdir(), *(HERE / "static").iterdir()):
        addresses = [
            word
            for word in file.read_text().replace('"', " ").replace("'", " ").split()
            if "//" in word and ("http:" in word or "https:" in word)
        ]
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, file.name
