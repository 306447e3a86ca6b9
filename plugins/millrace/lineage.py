"""What a task has read and written, for Airflow's OpenLineage provider where it is installed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange

MODELS = "mlflow"
# The names of the facets that OpenLineage does not define.
OFFSETS, RUN = "millrace_offsets", "millrace"


@dataclass(frozen=True)
class Dataset:
    """A topic, a model version or a folder.

    Attributes:
        namespace, name: as OpenLineage names it; a topic's are `kafka://host:port` and the topic.
        ranges: of a topic, the offsets that were read; none where they are not known.
        rows: how many records were read or written; None where they were not counted.
    """

    namespace: str
    name: str
    ranges: tuple[OffsetRange, ...] = ()
    rows: int | None = None


@dataclass(frozen=True)
class Lineage:
    """Inputs and outputs of a task, and what else identifies its work: a manifest, a version of a model."""

    inputs: Collection[Dataset] = ()
    outputs: Collection[Dataset] = ()
    identifies: dict[str, Any] = field(default_factory=dict)

    def to_openlineage(self) -> Any:
        """What the provider reads: `inputs`, `outputs`, `run_facets` and `job_facets`, of the client's classes."""
        import attr
        from openlineage.client.generated.base import InputDataset, InputDatasetFacet, OutputDataset, RunFacet
        from openlineage.client.generated.input_statistics_input_dataset import InputStatisticsInputDatasetFacet
        from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet

        offsets_facet = attr.make_class("MillraceOffsets", ["partitions"], bases=(InputDatasetFacet,))
        run_facet = attr.make_class("MillraceRun", list(self.identifies), bases=(RunFacet,))

        def read(item: Dataset) -> Any:
            facets: dict[str, Any] = {}
            if item.rows is not None:
                facets["inputStatistics"] = InputStatisticsInputDatasetFacet(rowCount=item.rows)
            if item.ranges:
                partitions = [{"partition": one.partition, "start": one.start, "end": one.end} for one in item.ranges]
                facets[OFFSETS] = offsets_facet(partitions)
            return InputDataset(item.namespace, item.name, inputFacets=facets)

        def written(item: Dataset) -> Any:
            facets: dict[str, Any] = {}
            if item.rows is not None:
                facets["outputStatistics"] = OutputStatisticsOutputDatasetFacet(rowCount=item.rows)
            return OutputDataset(item.namespace, item.name, outputFacets=facets)

        return SimpleNamespace(
            inputs=[read(item) for item in self.inputs],
            outputs=[written(item) for item in self.outputs],
            run_facets={RUN: run_facet(**self.identifies)} if self.identifies else {},
            job_facets={},
        )


def topic(
    connection: KafkaConnection, name: str, ranges: Collection[OffsetRange] = (), rows: int | None = None
) -> Dataset:
    """A topic, by the first of its cluster's servers."""
    server = connection.bootstrap_servers.partition(",")[0]
    return Dataset(f"kafka://{server}", name, tuple(ranges), rows)


def topics(connection: KafkaConnection, ranges: Collection[OffsetRange]) -> list[Dataset]:
    """The topics of some ranges."""
    names = dict.fromkeys(item.topic for item in ranges)
    return [topic(connection, name, [item for item in ranges if item.topic == name]) for name in names]


def model(name: str, version: int) -> Dataset:
    """A version of a model."""
    return Dataset(MODELS, f"{name}/{version}")
