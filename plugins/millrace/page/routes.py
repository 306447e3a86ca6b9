"""The page's addresses. All of them only read.

They are plain functions, which FastAPI runs in threads, so that none of them stops the server's loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi import Path as PathField
from fastapi.responses import FileResponse, HTMLResponse, Response

from include.definition.files import InvalidPipeline
from include.definition.pipeline import Pipeline
from include.errors import MillraceError
from include.kafka.errors import TopicMissing
from include.kafka.records import Address
from include.overview.look import Content
from include.overview.media import PNG, WAV
from include.registry.versions import NoSuchVersion
from millrace.page import deaths, history, look, models, overview, watched
from millrace.page.access import (
    User,
    may_clear,
    may_see_import_errors,
    may_see_records,
    may_see_results,
    may_trigger,
    readable_dags,
)
from millrace.page.render import HERE, Pages
from millrace.page.site import WORKFLOWS, Site

STATIC = {path.name: path for path in (HERE / "static").iterdir()}
# A file that was made from a record: whatever it holds, it is no page.
MEDIUM_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Content-Disposition": "inline",
    "Cache-Control": "private, max-age=600",
}

# For the description of the app: an error is a page, too.
HTML: dict[str, Any] = {"content": {"text/html": {"schema": {"type": "string"}}}}
ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"description": "Nobody is logged in.", **HTML},
    403: {"description": "The person may not see it.", **HTML},
    404: {"description": "There is no such thing that the person may read.", **HTML},
    422: {"description": "The address has a value that no form sends.", **HTML},
    503: {"description": "Kafka or MLflow does not answer.", **HTML},
}

T = TypeVar("T")

router = APIRouter(default_response_class=HTMLResponse, responses=ERRORS)


Partition = Annotated[int, PathField(ge=0, lt=2**31)]
Offset = Annotated[int, PathField(ge=0, lt=2**63)]
Version = Annotated[int, PathField(ge=1, lt=2**31)]
Label = Annotated[str, Query(max_length=1024)]


@dataclass
class Problem:
    """Why a page lacks its content, and the status that says so."""

    error: str = ""
    status: int = 200


def read_or_explain(read: Callable[[], T | None]) -> tuple[T | None, Problem]:
    """What is read; where that fails, the sentence of Millrace's error for the page to show."""
    try:
        found = read()
    except TopicMissing as error:
        return None, Problem(str(error), 404)
    except MillraceError as error:
        return None, Problem(str(error), 503)
    return found, Problem(status=200 if found is not None else 404)


def answer(request: Request, template: str, problem: Problem | None = None, **values: Any) -> Response:
    pages = cast("Pages", request.app.state.pages)
    problem = problem or Problem()
    return pages.render(request, template, status=problem.status, error=problem.error, **values)


def site_of(request: Request) -> Site:
    return cast("Site", request.app.state.site)


@dataclass(frozen=True)
class Visit:
    """A person at a page of a pipeline."""

    request: Request
    user: User
    site: Site
    pipeline: Pipeline

    def dag_id(self, workflow: str) -> str:
        return f"{self.pipeline.name}.{workflow}"

    def answer(self, template: str, problem: Problem | None = None, **values: Any) -> Response:
        return answer(self.request, template, problem, pipeline=self.pipeline, **values)


def may_read_one(name: str, dags: frozenset[str]) -> bool:
    """Whether one of a pipeline's DAGs is among these."""
    return any(f"{name}.{workflow}" in dags for workflow in WORKFLOWS)


def visit_pipeline(request: Request, name: str, user: User) -> Visit:
    """A visit to the pipeline of the address, if the person may read one of its DAGs."""
    site = site_of(request)
    pipeline = site.files.find(name)
    if pipeline is None or not may_read_one(name, readable_dags(user)):
        raise HTTPException(404, f"There is no pipeline {name!r:.100} whose DAGs you may read.")
    return Visit(request, user, site, pipeline)


AtPipeline = Annotated[Visit, Depends(visit_pipeline)]


def visit_records(visit: AtPipeline) -> Visit:
    """The same, if the person may see its records, too."""
    if not may_see_records(visit.user, visit.pipeline.name):
        raise HTTPException(403, f"You may not read the XComs of {visit.dag_id('predict')}, and so not its records.")
    return visit


AtRecords = Annotated[Visit, Depends(visit_records)]


@router.get("/")
def show_overview(request: Request, user: User) -> Response:
    site, dags = site_of(request), readable_dags(user)
    cards = overview.cards(site, dags, time.time())
    may_acknowledge = {card.name for card in cards if may_trigger(user, f"{card.name}.predict")}
    invalid = visible_faults(site.files.load()[1], user, dags)
    return answer(request, "overview.html", cards=cards, may_acknowledge=may_acknowledge, invalid=invalid)


def visible_faults(files: list[InvalidPipeline], user: User, dags: frozenset[str]) -> list[InvalidPipeline]:
    """The invalid files that a person may see: all as import errors, or those whose DAGs Airflow still has for them."""
    return files if may_see_import_errors(user) else [file for file in files if may_read_one(file.path.stem, dags)]


@router.get("/static/{name}", include_in_schema=False)
def send_static(name: str) -> Response:
    if name not in STATIC:
        raise HTTPException(404, "There is no such file.")
    return FileResponse(STATIC[name], headers={"Cache-Control": "private, max-age=60"})


@router.get("/{name}/overview")
def show_pipeline(visit: AtPipeline) -> Response:
    site, pipeline, user, now = visit.site, visit.pipeline, visit.user, time.time()
    with_runs = may_see_results(user, visit.dag_id("predict"))
    found, problem = read_or_explain(lambda: history.day(site, pipeline, now, with_runs=with_runs))
    may_see_looks = pipeline.watch is not None and may_see_results(user, visit.dag_id("watch"))
    looks = watched.looks(pipeline.name) if may_see_looks else []
    card = overview.card(site, pipeline, readable_dags(user), now)
    champion = card.champion.version if card.champion else None
    detail = site.detail(pipeline.name, champion.number, wait_s=0) if champion else None
    return visit.answer(
        "pipeline.html",
        Problem("", problem.status),
        card=card,
        watched=watched.watched(pipeline.watch, card.flow.watched if card.flow else ()),
        may_acknowledge={pipeline.name} if may_trigger(user, visit.dag_id("predict")) else set(),
        day=found,
        day_error=problem.error,
        charts=history.charts(found) if found else [],
        balance=history.balance(found, detail.value if detail else None) if found else None,
        balance_pending=detail is not None and detail.pending,
        watch_charts=watched.charts(pipeline.watch, looks),
    )


@router.get("/{name}/look")
def show_newest(visit: AtRecords, question: Annotated[look.LookQuestion, Query()]) -> Response:
    found, problem = read_or_explain(lambda: look.look(visit.site, visit.pipeline, question))
    return visit.answer(
        "look.html",
        problem,
        question=question,
        contents=look.CONTENTS,
        labels=visit.pipeline.training.labels,
        found=found,
        backlog=look.backlog(visit.site, visit.pipeline, question.topic),
    )


@router.get("/{name}/dead-letters")
def show_dead_letters(visit: AtRecords, reason: Annotated[str, Query(max_length=64)] = "") -> Response:
    now = time.time()
    found, problem = read_or_explain(lambda: deaths.deaths(visit.site, visit.pipeline, reason))
    predict = (visit.site.runs().value or {}).get(visit.dag_id("predict"))
    return visit.answer(
        "dead_letters.html",
        problem,
        reason=reason,
        found=found,
        chart=deaths.times_chart(found.times, now) if found and found.times else None,
        since=deaths.since_of(found, reason),
        replayable=visit.pipeline.topics.requests is None,
        may_replay=may_trigger(visit.user, visit.dag_id("replay")),
        predict_paused=predict is not None and predict.paused,
    )


@router.get("/{name}/dead-letters/{partition}/{offset}")
def show_dead_letter(visit: AtRecords, partition: Partition, offset: Offset) -> Response:
    site, pipeline = visit.site, visit.pipeline
    letter, problem = read_or_explain(lambda: deaths.death(site, pipeline, partition, offset))
    newest, _ = read_or_explain(lambda: deaths.deaths(site, pipeline, "")) if letter else (None, None)
    return visit.answer(
        "dead_letter.html",
        problem,
        letter=letter,
        count=deaths.count(newest, letter.reason) if newest and letter else None,
        original=deaths.original(pipeline, letter) if letter else "",
        run=deaths.run_of(pipeline, letter) if letter else "",
        may_replay=pipeline.topics.requests is None and may_trigger(visit.user, visit.dag_id("replay")),
    )


@router.get("/{name}/models")
def show_models(visit: AtPipeline) -> Response:
    reading, flow = visit.site.models(visit.pipeline.name), visit.site.flow(visit.pipeline)
    events = models.events(flow.history if flow else ())
    champion = reading.value.champion if reading.value else None
    return visit.answer(
        "models.html",
        Problem(reading.error),
        models=reading.value,
        chart=models.figures_chart(reading.value) if reading.value else None,
        events=events,
        runs=models.training_runs(visit.pipeline, reading.value) if reading.value else {},
        pairs=models.pairs(flow.shadowed if flow else ()),
        may_see_records=may_see_records(visit.user, visit.pipeline.name),
        earlier=sorted({event.version for event in events if event.crowned} - {champion}, reverse=True),
        may_roll_back=may_trigger(visit.user, visit.dag_id("rollback")),
    )


@router.get("/{name}/models/{number}")
def show_model(visit: AtPipeline, number: Version) -> Response:
    site, pipeline = visit.site, visit.pipeline
    reading = site.detail(pipeline.name, number)
    detail = reading.value
    confusion = detail.confusion if detail else None
    champion, flow = (site.champions().value or {}).get(pipeline.name), site.flow(pipeline)
    return visit.answer(
        "model.html",
        Problem(reading.error, 200 if detail or reading.pending else 404 if reading.kind is NoSuchVersion else 503),
        number=number,
        detail=detail,
        events=[event for event in models.events(flow.history if flow else ()) if event.version == number],
        judged=models.judged(pipeline, detail, champion, flow.history) if detail and champion and flow else None,
        may_compare=may_clear(visit.user, visit.dag_id("train")),
        curves=models.curves(detail) if detail else None,
        rows=models.matrix(confusion) if confusion else [],
        mistakes=models.mistakes(confusion) if confusion else [],
    )


@router.get("/{name}/models/{number}/mistakes")
def show_mistakes(visit: AtRecords, number: Version, true: Label, predicted: Label) -> Response:
    reading = visit.site.detail(visit.pipeline.name, number)
    confusion = reading.value.confusion if reading.value else None
    places = models.samples_behind(confusion, true, predicted) if confusion else []
    items, problem = read_or_explain(lambda: look.at(visit.site, visit.pipeline, places))
    return visit.answer(
        "mistakes.html",
        Problem(reading.error) if reading.error else problem,
        number=number,
        label=true,
        predicted=predicted,
        items=items,
        pending=reading.pending,
    )


@router.get("/{name}/{content}/{partition}/{offset}")
def show_record(visit: AtRecords, content: Content, partition: Partition, offset: Offset) -> Response:
    item, problem = read_or_explain(lambda: look.one(visit.site, visit.pipeline, content, partition, offset))
    return visit.answer("record.html", problem, item=item, content=content)


@router.get(
    "/{name}/{content}/{partition}/{offset}/media",
    response_class=Response,
    responses={200: {"content": {PNG: {}, WAV: {}}}},
)
def send_medium(visit: AtRecords, content: Content, partition: Partition, offset: Offset) -> Response:
    address = Address("", partition, offset)
    found, problem = read_or_explain(lambda: look.medium(visit.site, visit.pipeline, content, address))
    if found is None:
        raise HTTPException(problem.status, problem.error or "The record has no medium.")
    return Response(found.content, media_type=found.type, headers=MEDIUM_HEADERS)
