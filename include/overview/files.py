"""The pipelines' files, each read again only when it has changed."""

from pathlib import Path

from include.definition.files import InvalidPipeline, pipelines_folder, read_pipeline
from include.definition.pipeline import Pipeline


class PipelineFiles:
    """The pipelines of the folder, for who asks often."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[int, int], Pipeline | InvalidPipeline]] = {}

    def load(self) -> tuple[list[Pipeline], list[InvalidPipeline]]:
        """The valid and the invalid files as they are now, in order of name."""
        found: dict[Path, tuple[tuple[int, int], Pipeline | InvalidPipeline]] = {}
        for path in sorted(pipelines_folder().glob("*.toml")):
            try:
                status = path.stat()
            except OSError:
                continue  # it was removed in between
            version = (status.st_mtime_ns, status.st_size)
            seen = self._read.get(path)
            found[path] = seen if seen is not None and seen[0] == version else (version, read_pipeline(path))
        self._read = found
        items = [item for _, item in found.values()]
        return (
            [item for item in items if isinstance(item, Pipeline)],
            [item for item in items if isinstance(item, InvalidPipeline)],
        )

    def find(self, name: str) -> Pipeline | None:
        """The valid pipeline of that name; None if there is none."""
        return next((item for item in self.load()[0] if item.name == name), None)
