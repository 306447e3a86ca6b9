"""All that the page shows, read in the background and kept for a moment."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from include.overview.deaths import Letter, NewestDeadLetters
from include.overview.files import PipelineFiles
from include.overview.flow import LOGIN_TIMEOUT_S, Flow, FlowReader
from include.overview.history import Day, DayReader
from include.overview.kept import AnswerCache, BackgroundValue, LastValue
from include.overview.look import NewestItems
from include.overview.models import ChampionView, ModelReader, Models, VersionDetail
from millrace.connection import logged_in, with_keys
from millrace.page.media import MediaCache
from millrace.page.runs import DagView, latest_runs

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection

# For how long each is shown without being read again, and how long a reading of records may stand still.
FLOW_FRESH_S = 3.0
CHAMPIONS_FRESH_S = 10.0
RUNS_FRESH_S = 2.0
RECORDS_FRESH_S = 3.0
RECORDS_TIMEOUT_S = 5.0
DAY_FRESH_S = 15.0
# How long a page waits for MLflow, which may need a while to be imported or to answer.
REGISTRY_WAIT_S = 2.0
KEPT_DETAILS = 100
# A pipeline's DAGs, in the order of its flow.
WORKFLOWS = ("ingest", "train", "predict", "replay", "rollback", "repredict", "export", "watch")


def short_login(connection_id: str) -> KafkaConnection:
    """The connection, or an error after a moment: a page does not wait for a broker that is down."""
    return logged_in(connection_id, timeout_s=LOGIN_TIMEOUT_S)


class Site:
    """What is known of all pipelines."""

    def __init__(self) -> None:
        self.files = PipelineFiles()
        self.recent: AnswerCache[NewestItems] = AnswerCache(RECORDS_FRESH_S)
        self.media = MediaCache()
        self.days: AnswerCache[Day] = AnswerCache(DAY_FRESH_S)
        self.deaths: AnswerCache[NewestDeadLetters] = AnswerCache(RECORDS_FRESH_S)
        self.letters: AnswerCache[Letter | None] = AnswerCache(RECORDS_FRESH_S)
        self._day_readers: dict[str, DayReader] = {}
        self._flows: dict[str, BackgroundValue[dict[str, Flow]]] = {}
        self._registry = ModelReader()
        self._models: dict[str, BackgroundValue[Models]] = {}
        self._details: dict[tuple[str, int], BackgroundValue[VersionDetail]] = {}
        self._champions = BackgroundValue(
            "champions", lambda: self._registry.champions(self._names()), CHAMPIONS_FRESH_S
        )
        self._runs = BackgroundValue("runs", lambda: latest_runs(self._dag_ids()), RUNS_FRESH_S)

    def begin(self) -> None:
        """Begin to read all of it."""
        self.runs()
        self.champions()
        for pipeline in self.files.load()[0]:
            self.flows(pipeline.connection)

    def flows(self, connection_id: str) -> LastValue[dict[str, Flow]]:
        """The flows of the pipelines that have this connection, by their names."""
        kept = self._flows.get(connection_id)
        if kept is None:
            reader = FlowReader(partial(short_login, connection_id), with_keys)
            kept = BackgroundValue(
                f"flows-{connection_id}",
                lambda: reader.read(each for each in self.files.load()[0] if each.connection == connection_id),
                FLOW_FRESH_S,
            )
            # Two requests may each make one at once: both use the first.
            kept = self._flows.setdefault(connection_id, kept)
        return kept.get()

    def flow(self, pipeline: Pipeline) -> Flow | None:
        """The flow of one pipeline; None while it is not known."""
        return (self.flows(pipeline.connection).value or {}).get(pipeline.name)

    def champions(self) -> LastValue[dict[str, ChampionView]]:
        return self._champions.get()

    def models(self, name: str) -> LastValue[Models]:
        """The versions of a pipeline's model as they are now; a reading is waited for, but not for long."""
        kept = self._models.get(name) or self._models.setdefault(
            name, BackgroundValue(f"models-{name}", lambda: self._registry.models(name), CHAMPIONS_FRESH_S)
        )
        return kept.wait(REGISTRY_WAIT_S)

    def detail(self, name: str, number: int, wait_s: float = REGISTRY_WAIT_S) -> LastValue[VersionDetail]:
        """One version, waited for in the same way."""
        key = name, number
        if key not in self._details and len(self._details) >= KEPT_DETAILS:
            self._details.clear()
        kept = self._details.get(key) or self._details.setdefault(
            key,
            BackgroundValue(f"version-{name}-{number}", lambda: self._registry.detail(name, number), CHAMPIONS_FRESH_S),
        )
        return kept.wait(wait_s)

    def day_reader(self, name: str) -> DayReader:
        """What remembers the hours of a pipeline."""
        return self._day_readers.setdefault(name, DayReader())

    def runs(self) -> LastValue[dict[str, DagView]]:
        """The DAGs that Airflow has, by id."""
        return self._runs.get()

    def connection(self, pipeline: Pipeline) -> KafkaConnection:
        """The connection that a pipeline's records are read with; see `logged_in` and `with_keys` for the errors.

        A broker that answers a login is given longer than that for records.
        """
        return with_keys(replace(short_login(pipeline.connection), timeout_s=RECORDS_TIMEOUT_S), pipeline)

    def _names(self) -> list[str]:
        return [pipeline.name for pipeline in self.files.load()[0]]

    def _dag_ids(self) -> list[str]:
        return [f"{name}.{workflow}" for name in self._names() for workflow in WORKFLOWS]
