"""Records to look at: what the address asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, BeforeValidator, Field

from include.overview.look import Content, Filters, Item, Looker, NewestItems
from include.overview.media import Medium

if TYPE_CHECKING:
    from collections.abc import Iterable

    from include.backlogs import BacklogStep
    from include.definition.pipeline import Pipeline
    from include.kafka.records import Address
    from include.network.mistakes import Mistake
    from include.overview.flow import StepBacklog
    from millrace.page.site import Site

# How many records a page shows.
SHOWN = 24

CONTENTS: tuple[Content, ...] = ("predictions", "requests", "samples")


def _none_if_empty(value: object) -> object:
    # An empty field of a form comes as an empty text.
    return None if value == "" else value


Score = Annotated[float | None, Field(ge=0, le=1), BeforeValidator(_none_if_empty)]


class LookQuestion(BaseModel):
    """What a person wants to see, as the form sends it."""

    topic: Content = "predictions"
    label: Annotated[str, Field(max_length=1024)] = ""
    version: Annotated[int | None, Field(ge=1, lt=2**31), BeforeValidator(_none_if_empty)] = None
    least: Score = None
    most: Score = None
    wrong: Literal["", "1"] = ""

    @property
    def filters(self) -> Filters:
        if self.topic == "requests":
            return Filters()
        if self.topic == "samples":
            return Filters(label=self.label)
        return Filters(self.label, self.version, self.least, self.most, bool(self.wrong))

    @property
    def filtered(self) -> bool:
        return self.filters != Filters()

    def address(self, **changes: object) -> str:
        """The query of the same question with changes: `topic=samples&label=3`."""
        values = {**self.model_dump(), **changes}
        return urlencode({name: value for name, value in values.items() if value not in ("", None)})


def backlog(site: Site, pipeline: Pipeline, content: Content) -> StepBacklog | None:
    """What waits in a topic for the step that reads it; None where that is not known or nothing reads it."""
    flow = site.flow(pipeline)
    steps: dict[Content, BacklogStep] = {"requests": "predict", "samples": "train"}
    found = flow.backlogs.get(steps[content]) if flow and content in steps else None
    return found if found and not found.fault else None


def look(site: Site, pipeline: Pipeline, question: LookQuestion) -> NewestItems:
    """The newest records that a question is about; see `Looker.newest` for the errors."""

    def read() -> NewestItems:
        found = Looker(site.connection(pipeline), pipeline).newest(question.topic, SHOWN, question.filters)
        for item in found.items:
            site.media.put(pipeline.name, question.topic, item)
        return found

    return site.recent.get((pipeline.name, question.model_dump_json()), read)


def one(site: Site, pipeline: Pipeline, content: Content, partition: int, offset: int) -> Item | None:
    """A record; see `Looker.newest` for the errors."""

    def read() -> NewestItems:
        item = Looker(site.connection(pipeline), pipeline).one(content, partition, offset)
        if item is not None:
            site.media.put(pipeline.name, content, item)
        return NewestItems(() if item is None else (item,))

    found = site.recent.get((pipeline.name, content, partition, offset), read)
    return next(iter(found.items), None)


def at(site: Site, pipeline: Pipeline, places: Iterable[Mistake]) -> list[Item]:
    """The samples at these places that are still there; see `Looker.newest` for the errors."""
    found = (
        one(site, pipeline, "samples", place.partition, place.offset)
        for place in places
        if place.topic == pipeline.samples_topic
    )
    return [item for item in found if item is not None]


def medium(site: Site, pipeline: Pipeline, content: Content, address: Address) -> Medium | None:
    """A record's picture or sound; None where it has none."""
    kept = site.media.get(pipeline.name, content, address)
    if kept is None:
        item = one(site, pipeline, content, address.partition, address.offset)
        kept = None if item is None or item.shown is None else item.shown.medium
    return kept
