"""The demonstration's output: live runs, and the summary at the end."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from include.local.api import NOT_MAPPED
from include.local.demo import PipelineResult
from include.local.runs import Run, Task

_STYLES = {
    "success": "green",
    "running": "cyan",
    "queued": "dim",
    "scheduled": "dim",
    "skipped": "magenta",
    "failed": "bold red",
    "upstream_failed": "red",
    "up_for_retry": "yellow",
}
_REPORTED = ("success", "skipped", "failed", "upstream_failed", "up_for_retry")


@contextmanager
def progress(console: Console) -> Iterator[Callable[[list[Run]], None]]:
    """Yield a function that shows the runs: as a live table on a terminal, elsewhere as a line for each change."""
    if not console.is_terminal:
        yield _lines(console)
        return
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        yield lambda runs: live.update(Group(_table(runs), Spinner("dots", Text("waiting for the runs", style="dim"))))


def _table(runs: Sequence[Run]) -> Table:
    table = Table(title="Runs", title_justify="left", expand=False)
    table.add_column("DAG", style="bold", no_wrap=True)
    table.add_column("began by", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("tasks")
    table.add_column("seconds", justify="right", no_wrap=True)
    for run in runs:
        tasks = Text(", ").join(_styled(_named(task), task.state) for task in run.tasks if task.state)
        seconds = "" if run.seconds is None else f"{run.seconds:.1f}"
        table.add_row(run.dag_id, _began_by(run), _styled(run.state, run.state), tasks, seconds)
    return table


def _styled(text: str, state: str) -> Text:
    return Text(text, style=_STYLES.get(state, ""))


def _began_by(run: Run) -> str:
    return {"scheduled": "schedule", "asset_triggered": "new data", "manual": "trigger"}.get(run.kind, run.kind)


def _lines(console: Console) -> Callable[[list[Run]], None]:
    began = time.monotonic()
    printed: set[tuple[str, str, str]] = set()

    def report(run: Run, sentence: str, seconds: float | None) -> None:
        key = run.dag_id, run.id, sentence
        if key not in printed:
            printed.add(key)
            took = "" if seconds is None else f" ({seconds:.1f} s)"
            at = f"{time.monotonic() - began:6.1f} s"
            console.print(f"{at}  {run.dag_id}  {sentence}{took}", markup=False, highlight=False)

    def show(runs: list[Run]) -> None:
        for run in runs:
            report(run, f"begins, by {_began_by(run)}", None)
            for task in run.tasks:
                if task.state in _REPORTED:
                    report(run, f"{_named(task)}: {task.state}", task.seconds)
            if not run.active:
                report(run, run.state, run.seconds)

    return show


def _named(task: Task) -> str:
    name = task.id if task.map_index == NOT_MAPPED else f"{task.id}[{task.map_index}]"
    return f"{name} (try {task.try_number})" if task.try_number > 1 else name


def print_result(console: Console, result: PipelineResult) -> None:
    topics, version = result.topics, result.champion
    new, total = topics.new_samples + topics.new_requests, topics.samples + topics.requests
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column()
    facts.add_row(
        "ingested",
        f"{new:,} new, {total:,} in the topics: {topics.samples:,} labelled samples, {topics.requests:,} requests",
    )
    if version is not None:
        facts.add_row("model", f"version {version.number}, {version.metric} {version.score:.4f} on held-out samples")
    proof = "each request exactly once" if topics.exactly_once else "NOT each request exactly once"
    facts.add_row(
        "predicted",
        f"{topics.new_predictions:,} new, {topics.predictions:,} in the topic, {topics.dead_letters:,} dead letters; "
        f"{proof}",
    )
    console.rule(Text(result.pipeline.name, style="bold"), align="left")
    console.print(Text(result.pipeline.description))
    console.print(facts)
    if topics.examples:
        console.print(_examples(topics.examples))


def _examples(predictions: Sequence[Mapping[str, object]]) -> Table:
    table = Table(title=f"{len(predictions)} of the predictions, as a consumer reads them", title_justify="left")
    answered = [name for name in ("label", "score", "labels", "values") if any(name in item for item in predictions)]
    for column in ("id", *answered, "model", "from"):
        table.add_column(column, justify="right" if column == "score" else "left")
    for item in predictions:
        table.add_row(
            str(item.get("id")),
            *(str(item.get(name)) for name in answered),
            f"{item.get('model')}/{item.get('version')}",
            f"{item.get('topic')}/{item.get('partition')}/{item.get('offset')}",
        )
    return table


def print_summary(console: Console, results: Sequence[PipelineResult]) -> None:
    """Print a row for each pipeline: the records in its topics, and its champion's score on the held-out samples."""
    table = Table(title="Pipelines", title_justify="left")
    for column in ("pipeline", "samples", "held-out", "requests", "predicted", "seconds"):
        table.add_column(column, justify="right" if column in ("samples", "requests", "seconds") else "left")
    for result in results:
        topics, version = result.topics, result.champion
        table.add_row(
            result.pipeline.name,
            f"{topics.samples:,}",
            "no model" if version is None else f"{version.metric} {version.score:.4f}",
            f"{topics.requests:,}",
            "each once" if topics.exactly_once else "NOT each once",
            f"{result.seconds:.1f}",
        )
    console.print(table)


def print_seconds(console: Console, start: Mapping[str, float], runs: Sequence[Run], total: float) -> None:
    """Print the seconds of each step of the stack's start, and of each DAG's tasks over all its runs."""
    table = Table(title="Seconds", title_justify="left")
    table.add_column("step")
    table.add_column("tasks")
    table.add_column("runs", justify="right")
    table.add_column("seconds", justify="right")
    for step, seconds in start.items():
        table.add_row(step, "", "", f"{seconds:.1f}")
    for dag_id in dict.fromkeys(run.dag_id for run in runs):
        own = [run for run in runs if run.dag_id == dag_id]
        tasks: dict[str, float] = {}
        for task in (task for run in own for task in run.tasks):
            tasks[task.id] = tasks.get(task.id, 0.0) + (task.seconds or 0.0)
        shown = ", ".join(f"{name} {seconds:.1f}" for name, seconds in tasks.items())
        table.add_row(dag_id, shown, str(len(own)), f"{sum(run.seconds or 0.0 for run in own):.1f}")
    table.add_section()
    table.add_row("all of it", "", "", f"{total:.1f}")
    console.print(table)
