"""The page of dead letters, and its form for the replay."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.dead_letters import ADDRESS, ERROR, REASON, RUN
from include.refusal import REASONS
from millrace.page.deaths import BUCKETS, times_chart
from tests.support.page import Visit
from tests.support.producers import Record, produce

SCRIPT = b"</pre><script>alert(1)</script>"


def dead(reason: bytes, died_ms: int = 0, content: bytes = b"value") -> Record:
    headers = [(REASON, reason), (ERROR, content), (ADDRESS, content), (RUN, content), ("other", content)]
    return Record(content, content, headers, timestamp_ms=died_ms)


def test_each_reason_is_explained_and_leads_to_a_form_that_is_filled_in(
    kafka: KafkaConnection, pipeline: Pipeline, visit: Visit
) -> None:
    died = (int(time.time()) - 3600) * 1000
    produce(kafka, pipeline.dead_letters_topic, [dead(b"wrong-size", died), dead(b"wrong-size"), dead(b"empty")])

    seen = visit("USER").see(f"/{pipeline.name}/dead-letters?reason=wrong-size")

    assert REASONS["wrong-size"] in seen.text
    assert REASONS["empty"] in seen.text
    assert f"the [format] table of {pipeline.name}.toml if" in seen.text  # without the backticks
    assert "3 in all" in seen.text
    (form,) = [attributes for tag, attributes in seen.elements if tag == "form"]
    assert form == {"class": "trigger", "data-dag": f"{pipeline.name}.replay"}
    fields = {attributes["name"]: attributes for tag, attributes in seen.elements if tag in ("input", "textarea")}
    assert set(fields) == {"reasons", "since", "until", "number"}
    assert fields["since"]["value"] == time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(died // 1000))


def test_who_may_only_read_has_no_form(kafka: KafkaConnection, pipeline: Pipeline, visit: Visit) -> None:
    produce(kafka, pipeline.dead_letters_topic, [dead(b"empty")])

    seen = visit("VIEWER").see(f"/{pipeline.name}/dead-letters?reason=empty")

    assert REASONS["empty"] in seen.text
    assert not [tag for tag, _ in seen.elements if tag == "form"]


def test_a_dead_letter_leads_to_its_request_its_run_those_with_its_reason_and_the_replay(
    kafka: KafkaConnection, pipeline: Pipeline, visit: Visit
) -> None:
    own = {
        ADDRESS: f"{pipeline.requests_topic}/2/46",
        RUN: f"{pipeline.name}.predict/manual__2026-11-30T00:00:00+00:00",
    }
    other = {ADDRESS: f"other.{pipeline.requests_topic}/2/46", RUN: f"{pipeline.name}.predict/.."}
    for place in (own, other):
        headers = [(REASON, b"wrong-depth"), *((name, text.encode()) for name, text in place.items())]
        produce(kafka, pipeline.dead_letters_topic, [Record(b"x", b"key", headers)])
    page = f"/{pipeline.name}/dead-letters"

    seen, foreign, reader = (
        visit(role).see(f"{page}/0/{at}") for role, at in (("USER", 0), ("USER", 1), ("VIEWER", 0))
    )

    request = f"/millrace/{pipeline.name}/requests/2/46"
    assert request in seen.links()
    assert f"/dags/{pipeline.name}.predict/runs/manual__2026-11-30T00%3A00%3A00%2B00%3A00" in seen.links()
    assert "All 2 wrong-depth" in seen.text
    assert "bits" in seen.text
    assert f"/millrace{page}?reason=wrong-depth#replay" in seen.links()
    assert not any("#replay" in link for link in reader.links())
    assert request not in foreign.links()
    assert not any("/runs/" in link for link in foreign.links())


def test_the_form_of_the_replay_warns_of_a_paused_prediction(
    kafka: KafkaConnection, pipeline: Pipeline, visit: Visit
) -> None:
    produce(kafka, pipeline.dead_letters_topic, [dead(b"empty")])
    person = visit("USER")
    person.see()  # the DAGs are known; Airflow has added them as paused

    seen = person.see(f"/{pipeline.name}/dead-letters")

    assert f"{pipeline.name}.predict is paused: nothing answers what is replayed" in seen.text
    assert "follows by itself" not in seen.text


def test_hostile_letters_are_shown_as_text(kafka: KafkaConnection, pipeline: Pipeline, visit: Visit) -> None:
    produce(kafka, pipeline.dead_letters_topic, [dead(SCRIPT, content=SCRIPT), dead(b"empty", content=b"\xff\x00\x1b")])
    person = visit("USER")

    for path in ("dead-letters", "dead-letters/0/0", "dead-letters/0/1", "dead-letters?reason=%3Cscript%3E"):
        assert person.see(f"/{pipeline.name}/{path}").active() == []
    assert SCRIPT.decode() in person.see(f"/{pipeline.name}/dead-letters/0/0").text


@pytest.mark.parametrize("path", ["dead-letters", "dead-letters/0/0"])
def test_nobody_sees_a_dead_letter_without_a_login(pipeline: Pipeline, visit: Visit, path: str) -> None:
    assert visit(None).get(f"/{pipeline.name}/{path}").status_code == 401
    assert visit("VIEWER").get(f"/{pipeline.name}/dead-letters/0/7").status_code == 404


@pytest.mark.parametrize("ages_s", [[0], [86_400], [10, 86_400 * 400], [-3600], [5] * 1000])
def test_the_chart_has_each_death_of_the_last_day_once(ages_s: list[int]) -> None:
    now = 1_800_000_000.0

    chart = times_chart([int((now - age) * 1000) for age in ages_s], now)

    drawn = sum(int(bar.text.split()[0].replace(",", "")) for bar in chart.bars)
    assert drawn == sum(age <= 86_400 for age in ages_s)
    assert all(chart.left <= bar.x <= chart.right for bar in chart.bars)
    assert len(chart.bars) <= BUCKETS
    gaps = [after.at - before.at for before, after in pairwise(chart.places)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps))
    assert chart.places[-1].text == "now"
    assert len({tick.text for tick in chart.places}) == len(chart.places)
