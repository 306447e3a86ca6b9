"""A folder of files, one sample each; the name of a file's folder is its class."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from include.sources import _sent_files as sent_files
from include.sources._files import FileSource
from include.sources._listing import File
from include.sources.base import MAX_SAMPLE_BYTES, SourceChanged, SourceRefused, SourceSample, another_source


class FolderSource(FileSource):
    """`path/<label>/…/<file>`, sent unchanged: the files must be in the pipeline's format.

    A sample's id is its path below `path`, its label the first part of that. See `include.sources._files` for their
    order, and `include.sources._sent_files` for changes that are refused.

    Args:
        group: a regular expression to search in the id; its first capture group, or the whole match, is the sample's
            group, which stays on one side of a held-out split: a speaker, a patient.
    """

    kind: Literal["folder"] = "folder"
    group: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("group")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    def count(self) -> int:
        self._check_files()
        return len(self.settled())

    def read(self, start: int, count: int) -> list[SourceSample]:
        files = self.files()[start : start + count]
        return [self._sample(file, content) for file, content in zip(files, self.contents(files), strict=False)]

    def prefix(self, position: int) -> dict[str, Any]:
        return sent_files.told(self.files()[:position])

    def check_prefix(self, position: int, prefix: dict[str, Any]) -> None:
        if not position:
            return
        if "hashes" not in prefix:
            raise SourceChanged(another_source(position))
        if not sent_files.are_those(self.files()[:position], prefix):
            raise SourceChanged(sent_files.how_changed(self.path, self.files(), position, prefix))

    def _check_files(self) -> None:
        classes: set[str] = set()
        for file in self.files():
            label, found, _ = file.name.partition("/")
            if not found:
                raise SourceRefused(
                    f"File {file.name!r} lies in {self.path} itself and in no folder that names its class: move it "
                    "into one, or name the suffixes of samples in [source]."
                )
            if file.size > MAX_SAMPLE_BYTES:
                raise SourceRefused(
                    f"File {file.name!r} in {self.path} has {file.size} bytes and no topic takes more than "
                    f"{MAX_SAMPLE_BYTES}: remove it, or name the suffixes of samples in [source]."
                )
            classes.add(label)
        if len(classes) == 1:
            raise SourceRefused(
                f"Folder {self.path} has files of one class only, {classes.pop()!r}: add a folder with those of "
                "another, or correct path of [source]."
            )

    def _sample(self, file: File, content: bytes) -> SourceSample:
        return SourceSample(file.name, content, label=file.name.partition("/")[0], group=self._group(file.name))

    def _group(self, name: str) -> str | None:
        if self.group is None:
            return None
        found = re.search(self.group, name)
        if found is None:
            raise SourceRefused(
                f"The group {self.group!r} of [source] finds nothing in {name!r}: correct the expression, or the name "
                "of the file."
            )
        return found[1] if found.re.groups else found[0]
