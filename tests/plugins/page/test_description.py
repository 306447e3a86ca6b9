"""The page does what its OpenAPI description says, whatever somebody asks for, by schemathesis."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.dead_letters import REASON
from include.kafka.topics import ensure_topics
from include.storage.state import state_dir
from millrace.page.app import make_app
from millrace.page.site import Site
from tests.support.mlflow_database import put_database
from tests.support.page import ATTACKS, Person, Visit
from tests.support.producers import Record, produce

BASE = "http://testserver/millrace"
DESCRIPTION = make_app(Site()).openapi()
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture
def pipeline(
    kafka: KafkaConnection, new_pipeline: Callable[..., Pipeline], known_dags: Callable[..., None]
) -> Pipeline:
    """A pipeline with a few records of everything that other programs may write."""
    put_database(state_dir())
    made = new_pipeline(partitions="1")
    ensure_topics(kafka, made.topic_specs())
    known_dags(made)
    for topic in (made.samples_topic, made.requests_topic, made.predictions_topic, made.dead_letters_topic):
        produce(kafka, topic, [Record(text.encode(), text.encode(), [(REASON, text.encode())]) for text in ATTACKS])
    return made


@pytest.fixture
def viewer(visit: Visit) -> Person:
    return visit("VIEWER")


@pytest.mark.parametrize("path", DESCRIPTION["paths"])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_every_answer_is_one_that_the_description_has(
    pipeline: Pipeline, viewer: Person, path: str, data: st.DataObject
) -> None:
    operation = schemathesis.openapi.from_dict(DESCRIPTION)[path]["GET"]
    known = {"name": pipeline.name} if "{name}" in path else {}
    mode = data.draw(st.sampled_from(list(GenerationMode) if known else [GenerationMode.POSITIVE]))
    case = data.draw(operation.as_strategy(generation_mode=mode, path_parameters=known))

    answer = viewer.client.request(**case.as_transport_kwargs(base_url=BASE))

    # Starlette gives a mounted app no address with a line break: who has mounted it answers.
    assume(b"%0A" not in answer.request.url.raw_path.partition(b"?")[0])
    case.validate_response(answer, checks=CHECKS)
