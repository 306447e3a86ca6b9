"""The models of pipelines as MLflow has them, for a person."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from include.artifact.card import CARD, SideReport
from include.artifact.figures import Confusion
from include.errors import MillraceError
from include.registry.runs import CONFUSION, HELD_OUT, MODEL, RUN_TAG
from include.registry.tracking import Registry, explained, open_registry
from include.registry.versions import NoSuchVersion, Version, challenger, champion, version, versions

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

# A pipeline's page shows this many of its versions, the newest.
SHOWN_VERSIONS = 20
# Curves that are drawn.
DRAWN = ("train_loss", "held_out_loss")
LARGEST_FILE = 8 * 2**20


@dataclass(frozen=True)
class ChampionView:
    """A pipeline's champion.

    Attributes:
        version: None where none was promoted yet.
        workflow_run: the id of the run that trained it, `<dag>/<run>`; empty if it is not known.
        experiment_id: of MLflow's experiment with the run.
        fault: why a prediction would refuse it, a sentence; empty if it would not.
    """

    version: Version | None = None
    workflow_run: str = ""
    experiment_id: str = ""
    fault: str = ""


@dataclass(frozen=True)
class VersionView:
    """A version with what its run has.

    Attributes:
        figures: on the held-out samples, by name: loss and all metrics of its last epoch.
        settings: the parameters of the training, by name.
        ended_ms: when the training ended, in milliseconds since 1970; None while it is at work.
    """

    version: Version
    workflow_run: str
    experiment_id: str
    ended_ms: int | None
    figures: Mapping[str, float]
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Models:
    """A pipeline's model.

    Attributes:
        versions: the newest, the newest first.
        champion: the number of the version that predicts.
        challenger: of the one that may predict beside it.
    """

    versions: tuple[VersionView, ...] = ()
    champion: int | None = None
    challenger: int | None = None

    @property
    def figures(self) -> list[str]:
        """The names of all figures."""
        return sorted({name for seen in self.versions for name in seen.figures})


class CardView(BaseModel):
    """What a person sees of a model card; whatever else it has is left out."""

    created: datetime
    train: SideReport
    held_out: SideReport
    software: dict[str, str]


@dataclass(frozen=True)
class VersionDetail:
    """A version with its curves and its card.

    Attributes:
        curves: by name, a value for each epoch.
        confusion: on the held-out samples; None where the version has none.
        card: None where MLflow's files have none that can be read.
    """

    seen: VersionView
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    confusion: Confusion | None = None
    card: CardView | None = None


class ModelReader:
    """Reads from MLflow through one client, which it makes when something is first read."""

    def __init__(self) -> None:
        self._registry: Registry | None = None
        self._champions: dict[str, ChampionView] = {}

    def champions(self, names: Iterable[str]) -> dict[str, ChampionView]:
        """The champions by the pipelines' names; only of one that is another than last time the run is read.

        Raises:
            NotMigrated, UnknownTracking, RegistryUnavailable, RegistryDenied: see include.registry.
        """
        last = self._champions
        self._champions = self._with(
            lambda registry: {name: _champion(registry, name, last.get(name)) for name in names}
        )
        return self._champions

    def models(self, name: str) -> Models:
        """The newest versions of a pipeline; for the errors see `champions`."""

        def read(registry: Registry) -> Models:
            newest = versions(registry, name)[: -SHOWN_VERSIONS - 1 : -1]
            return Models(
                tuple(_version(registry, found) for found in newest),
                _number(registry, name, champion),
                _number(registry, name, challenger),
            )

        return self._with(read)

    def detail(self, name: str, number: int) -> VersionDetail:
        """One version.

        Raises:
            NoSuchVersion: there is none of this number; for the others see `champions`.
        """

        def read(registry: Registry) -> VersionDetail:
            found = version(registry, name, number)
            curves = {}
            with explained(registry, f"reading the curves of version {number} of {name}"):
                for curve in DRAWN:
                    points = registry.client.get_metric_history(found.run_id, curve)
                    curves[curve] = tuple(point.value for point in sorted(points, key=lambda point: point.step))
            return VersionDetail(
                _version(registry, found),
                curves,
                _parsed(Confusion, _file(registry, found, CONFUSION)),
                _parsed(CardView, _file(registry, found, f"{MODEL}/{CARD}")),
            )

        return self._with(read)

    def _with(self, read: Callable[[Registry], T]) -> T:
        registry = self._registry = self._registry or open_registry()
        try:
            return read(registry)
        except NoSuchVersion:
            raise
        except MillraceError:
            self._registry = None  # its address may be corrected meanwhile
            raise


def _champion(registry: Registry, name: str, last: ChampionView | None) -> ChampionView:
    try:
        found = champion(registry, name)
    except NoSuchVersion as error:
        return ChampionView(fault=str(error))
    if found is None:
        return ChampionView()
    if last is not None and last.version == found:
        return last
    seen = _version(registry, found)
    return ChampionView(found, seen.workflow_run, seen.experiment_id)


def _number(registry: Registry, name: str, find: Callable[[Registry, str], Version | None]) -> int | None:
    with suppress(NoSuchVersion):
        return None if (found := find(registry, name)) is None else found.number
    return None


def _version(registry: Registry, found: Version) -> VersionView:
    with explained(registry, f"looking for the run of version {found.number} of {found.name}"):
        run = registry.client.get_run(found.run_id)
    return VersionView(
        version=found,
        workflow_run=str(run.data.tags.get(RUN_TAG, "")),
        experiment_id=str(run.info.experiment_id),
        ended_ms=run.info.end_time,
        figures={
            name.removeprefix(HELD_OUT): float(value)
            for name, value in run.data.metrics.items()
            if name.startswith(HELD_OUT)
        },
        settings={str(name): str(value) for name, value in run.data.params.items()},
    )


def _file(registry: Registry, found: Version, path: str) -> bytes | None:
    """A file of a version's run; None where there is none, or it is larger than such a file can be."""
    with explained(registry, f"reading {path} of version {found.number} of {found.name}"):
        folder = path.rpartition("/")[0]
        listed = registry.client.list_artifacts(found.run_id, folder or None)
        if not any(item.path == path and (item.file_size or 0) <= LARGEST_FILE for item in listed):
            return None
        with tempfile.TemporaryDirectory() as place:
            return Path(registry.client.download_artifacts(found.run_id, path, place)).read_bytes()


def _parsed(kind: type[M], content: bytes | None) -> M | None:
    if content is None:
        return None
    try:
        return kind.model_validate_json(content)
    except ValidationError:
        return None
