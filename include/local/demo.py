"""The demonstration: runs every pipeline's DAGs once, and checks their results in Kafka and the registry."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import get_args

from include.definition.files import load_pipelines
from include.definition.pipeline import Pipeline
from include.definition.tables import WorkStep
from include.local.audit import Audit, Offsets, audit, end_offsets
from include.local.environment import CONNECTION
from include.local.errors import StackError
from include.local.runs import Run, RunFollower
from include.local.stack import Stack
from include.registry.versions import Version, champion

# Consumers first: a paused DAG loses events.
WORKFLOWS = ("predict", "train", "ingest")
TIMEOUT_S = 600.0
_DAGS_TIMEOUT_S = 120.0
# The scheduler creates a run for an asset event within one or two loops.
_SETTLED_S = 2.0
_STUCK_S = 30.0
_POLL_S = 0.5
_LOG_LINES = 15


@dataclass(frozen=True)
class PipelineResult:
    """The state of one pipeline when its runs had ended, `seconds` after its turn began."""

    pipeline: Pipeline
    topics: Audit
    champion: Version | None
    runs: tuple[Run, ...]
    seconds: float = 0.0

    def shortcomings(self) -> list[str]:
        """A sentence for each failed check; none if all passed."""
        name, topics = self.pipeline.name, self.topics
        found = []
        if not any(run.dag_id == f"{name}.ingest" and run.state == "success" for run in self.runs):
            found.append(f"No run of {name}.ingest has succeeded.")
        if not topics.samples + topics.requests:
            found.append(f"There are no records in {self.pipeline.samples_topic} and {self.pipeline.requests_topic}.")
        if self.champion is None:
            found.append(f"No model of {name} has been promoted (floor: {self.pipeline.promotion.floor:g}).")
        if topics.missing:
            found.append(
                f"{len(topics.missing)} of {topics.requests} requests have neither a prediction nor a dead letter, "
                f"the first at {topics.missing[0]}."
            )
        if topics.doubled:
            found.append(
                f"{len(topics.doubled)} of {topics.requests} requests have more than one result, "
                f"the first at {topics.doubled[0]}."
            )
        return found


def demo_pipelines(connections: Collection[str] = (CONNECTION,)) -> tuple[list[Pipeline], list[str]]:
    """The pipelines that a local stack can run, and a sentence on each that it can't.

    Args:
        connections: those to Kafka that the stack has.

    Raises:
        StackError: there is none.
    """
    valid, invalid = load_pipelines()
    foreign = {
        pipeline.name: {pipeline.connection_of(step) for step in get_args(WorkStep)} - {*connections}
        for pipeline in valid
    }
    runnable = [pipeline for pipeline in valid if not foreign[pipeline.name]]
    left_out = [
        f"Pipeline {name} uses the connection {min(names)!r}, not the embedded broker's {CONNECTION!r}, and is left "
        "out."
        for name, names in foreign.items()
        if names
    ]
    left_out += [f"A pipeline file is not valid and makes no DAGs: {item}" for item in invalid]
    if not runnable:
        raise StackError("\n".join(["There is no pipeline to show: add a TOML file to include/pipelines.", *left_out]))
    return runnable, left_out


@dataclass
class Demo:
    """One demonstration on a running stack.

    Args:
        pipelines: from `demo_pipelines`.
        batches: ingest runs of each pipeline, unless its source ends before.
    """

    stack: Stack
    pipelines: Sequence[Pipeline]
    batches: int = 2

    def run(
        self,
        on_runs: Callable[[list[Run]], None],
        on_result: Callable[[PipelineResult], None],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> list[PipelineResult]:
        """Run one pipeline after the other, so that the first result comes as early as with one pipeline alone.

        Args:
            on_runs: called with all runs of the current pipeline after each poll.
            on_result: called with a pipeline's result when its turn ends.
            timeout_s: for each pipeline, in seconds.

        Raises:
            StackError: a run failed, time is up, all runs ended and a check failed, or the stack ended.
        """
        self._wait_for_dags()
        results = []
        for pipeline in self.pipelines:
            results.append(self._show(pipeline, on_runs, timeout_s))
            on_result(results[-1])
        return results

    def _show(self, pipeline: Pipeline, on_runs: Callable[[list[Run]], None], timeout_s: float) -> PipelineResult:
        """Unpause the DAGs, ingest, and wait until all runs have ended and all checks pass."""
        began = time.monotonic()
        since = end_offsets(self.stack.kafka_settings, pipeline)
        dag_ids = _dag_ids(pipeline)
        follower = RunFollower(self.stack.api, frozenset(dag_ids))
        before = {(run.dag_id, run.id) for run in follower.runs() if not run.active}
        for dag_id in dag_ids:
            self.stack.api.unpause(dag_id)
        idle_since: float | None = None
        while True:
            self.stack.check()
            runs = [run for run in follower.runs() if (run.dag_id, run.id) not in before]
            on_runs(runs)
            self._refuse_failed(runs)
            asked_for_more = self._ingest_more(pipeline, runs)
            active = [run for run in runs if run.active]
            now = time.monotonic()
            if asked_for_more or active:
                idle_since = None
            elif idle_since is None:
                idle_since = now
            missing = [f"{run.dag_id} is {run.state}." for run in active]
            if idle_since is not None and now - idle_since > _SETTLED_S:
                result = self._result(pipeline, since, runs, now - began)
                missing = result.shortcomings()
                if not missing:
                    return result
                if now - idle_since > _STUCK_S:
                    raise StackError("\n".join(["All runs have ended, and:", *missing]))
            if now - began > timeout_s:
                raise StackError("\n".join([f"Not done after {timeout_s:g} s:", *missing]))
            time.sleep(_POLL_S)

    def _wait_for_dags(self) -> None:
        """Wait until Airflow has read the workflow files."""
        api = self.stack.api
        wanted = {dag_id for pipeline in self.pipelines for dag_id in _dag_ids(pipeline)}

        def missing() -> bool:
            wanted.difference_update([dag_id for dag_id in wanted if api.has_dag(dag_id)])
            return bool(wanted)

        try:
            api.wait_until(lambda: not missing(), timeout_s=_DAGS_TIMEOUT_S, what="Airflow reads the workflow files")
        except StackError as error:
            faults = [f"{item['filename']}:\n{item['stack_trace']}" for item in api.import_errors()]
            absent = ", ".join(sorted(wanted))
            raise StackError("\n".join([f"Airflow does not show the DAGs {absent} ({error}).", *faults])) from error

    def _ingest_more(self, pipeline: Pipeline, runs: list[Run]) -> bool:
        """Trigger the next batch if one is due; return whether it was."""
        dag_id = f"{pipeline.name}.ingest"
        # The scheduler creates one run itself when the DAG is unpaused, for the interval that has just ended.
        own = [run for run in runs if run.dag_id == dag_id]
        due = len(own) < self.batches and not any(run.active or run.skipped for run in own)
        if due:
            self.stack.api.trigger(dag_id)
        return due

    def _refuse_failed(self, runs: list[Run]) -> None:
        for run in runs:
            if run.state != "failed":
                continue
            lines = [f"Run {run.id} of {run.dag_id} has failed."]
            for task in run.tasks:
                if task.state == "failed":
                    log = self.stack.api.log(run.dag_id, run.id, task.id, task.try_number, map_index=task.map_index)
                    lines += [f"The end of the log of {task.id}:", *(f"  {line}" for line in log[-_LOG_LINES:])]
            raise StackError("\n".join(lines))

    def _result(self, pipeline: Pipeline, since: Offsets, runs: list[Run], seconds: float) -> PipelineResult:
        from include.registry.tracking import open_registry

        return PipelineResult(
            pipeline=pipeline,
            topics=audit(self.stack.kafka_settings, pipeline, since),
            champion=champion(open_registry(), pipeline.name),
            runs=tuple(runs),
            seconds=seconds,
        )


def _dag_ids(pipeline: Pipeline) -> list[str]:
    return [f"{pipeline.name}.{workflow}" for workflow in WORKFLOWS]
