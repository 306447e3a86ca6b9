"""The overview: what each pipeline's card says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from include.errors import amount
from include.overview.flow import Flow
from include.overview.models import ChampionView
from millrace.page.runs import DagView, Run
from millrace.page.site import WORKFLOWS, Site
from millrace.page.text import duration

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline

STATES = {"success": "succeeded", "failed": "failed", "running": "runs", "queued": "is queued"}


@dataclass(frozen=True)
class Card:
    """A pipeline as the overview shows it; what is not known yet is None.

    Attributes:
        dags: those that the person may read, by workflow.
        broker_error, registry_error: why Kafka or MLflow is not known, as a sentence.
    """

    pipeline: Pipeline
    flow: Flow | None
    flow_at: float
    champion: ChampionView | None
    dags: dict[str, DagView]
    broker_error: str
    registry_error: str
    now: float

    @property
    def name(self) -> str:
        return self.pipeline.name

    @property
    def pending(self) -> bool:
        """Whether something is being read for the first time."""
        return (self.flow is None and not self.broker_error) or (self.champion is None and not self.registry_error)

    @property
    def source(self) -> str:
        source = self.pipeline.source
        return source.kind if source is not None else "other applications"

    @property
    def alerts(self) -> list[str]:
        """What a person has to look at, each a sentence."""
        flow = self.flow or Flow()
        found = [flow.fault, *flow.damage, *(backlog.fault for backlog in flow.backlogs.values())]
        if self.champion is not None:
            found.append(self.champion.fault)
        return [sentence for sentence in found if sentence]

    @property
    def failed(self) -> list[DagView]:
        """The DAGs whose last run has failed."""
        return [dag for dag in self.dags.values() if dag.last is not None and dag.last.state == "failed"]

    @property
    def stopped(self) -> str:
        """What keeps requests from an answer though nothing has failed, in a few words; empty where nothing does."""
        flow = self.flow or Flow()
        backlog, dead = flow.backlogs.get("predict"), flow.topics.get("dead_letters")
        found = []
        if backlog is not None and self.waits_behind("predict"):
            found.append(f"paused, {backlog.text} wait{'s' if backlog.records == 1 else ''}")
        if dead is not None and dead.last_hour:
            found.append(f"{amount(dead.last_hour, 'dead letter')} in the last hour")
        text = "; ".join(found)
        return text[:1].upper() + text[1:]

    @property
    def needs_attention(self) -> bool:
        return self.state[1] in ("bad", "warn")

    @property
    def state(self) -> tuple[str, str]:
        """A word for all of it, and its class."""
        last = [dag.last for dag in self.dags.values() if dag.last is not None]
        words = (
            (self.flow is not None and self.flow.hold is not None, "Held", "bad"),
            (bool(self.broker_error), "Kafka fails", "bad"),
            (bool(self.alerts or self.failed), "Needs attention", "bad"),
            (bool(self.stopped), self.stopped, "warn"),
            (self.pending, "Reading", "quiet"),
            (any(run.state == "running" for run in last), "Working", "busy"),
            (self.champion is not None and self.champion.version is None, "No model yet", "quiet"),
            (self.waits, "Waiting", "quiet"),
        )
        return next(((word, kind) for holds, word, kind in words if holds), ("Up to date", "good"))

    def waits_behind(self, workflow: str) -> bool:
        """Whether records wait for a DAG that is paused."""
        dag = self.dags.get(workflow)
        waiting = [backlog.waits for step, backlog in (self.flow or Flow()).backlogs.items() if step == workflow]
        return dag is not None and dag.paused and any(waiting)

    @property
    def waits(self) -> bool:
        return self.flow is not None and any(backlog.waits for backlog in self.flow.backlogs.values())

    @property
    def promoted(self) -> str:
        """How the champion became it: by a promotion or by whom."""
        version = None if self.champion is None else self.champion.version
        if self.flow is None or version is None:
            return ""
        for entry in reversed(self.flow.history):
            fields = entry.fields or {}
            age = duration(self.now - entry.at_ms / 1000)
            if entry.key.step == "rollback" and fields.get("version") == version.number:
                return f"rolled back to {age} ago by {fields['by']}: {fields['why']}"
            if entry.key.step == "model" and entry.key.scope == str(version.number) and fields.get("promoted"):
                approved = next(
                    (
                        seen.fields["by"]
                        for seen in reversed(self.flow.history)
                        if seen.key.step == "approval"
                        and seen.fields
                        and (seen.fields["version"], seen.fields["decision"]) == (version.number, "approved")
                    ),
                    None,
                )
                train = f"{self.name}.train {age} ago"
                return (
                    f"promoted by {train}, approved by {approved}" if approved else f"promoted automatically by {train}"
                )
        return ""


def cards(site: Site, readable: Collection[str], now: float) -> list[Card]:
    """The cards of the pipelines of which a person may read a DAG, with only those DAGs."""
    return [
        card(site, pipeline, readable, now)
        for pipeline in site.files.load()[0]
        if any(f"{pipeline.name}.{workflow}" in readable for workflow in WORKFLOWS)
    ]


def card(site: Site, pipeline: Pipeline, readable: Collection[str], now: float) -> Card:
    """A pipeline's card; see `cards`."""
    runs, flows, champions = site.runs(), site.flows(pipeline.connection), site.champions()
    ids = {workflow: f"{pipeline.name}.{workflow}" for workflow in WORKFLOWS}
    known = runs.value or {}
    return Card(
        pipeline=pipeline,
        flow=(flows.value or {}).get(pipeline.name),
        flow_at=flows.at,
        champion=(champions.value or {}).get(pipeline.name),
        dags={workflow: known[dag_id] for workflow, dag_id in ids.items() if dag_id in readable and dag_id in known},
        broker_error=flows.error,
        registry_error=champions.error,
        now=now,
    )


def run_sentence(run: Run, now: float) -> str:
    """A run for a person: `digits.train failed 3 min ago`."""
    text = f"{run.dag_id} {STATES.get(run.state, run.state)}"
    since = run.ended or run.started
    return text if since is None else f"{text} {duration(now - _utc(since).timestamp())} ago"


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
