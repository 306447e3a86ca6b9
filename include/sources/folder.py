"""A folder of files, one sample each; the name of a file's folder is its class."""

import logging
import re
from typing import Annotated, Any, Literal, Self
from unicodedata import normalize

from pydantic import Field, PrivateAttr, field_validator

from include.given_split import GivenSide, side_of
from include.sources import _sent_files as sent_files
from include.sources._files import FileSource
from include.sources._listing import File
from include.sources.base import MAX_SAMPLE_BYTES, SourceChanged, SourceRefused, SourceSample, another_source

log = logging.getLogger(__name__)


class FolderSource(FileSource):
    """`path/<label>/…/<file>`, sent unchanged: the files must be in the pipeline's format.

    A sample's id is its path below `path`, its label the first part of that. See `include.sources._sent_files` for
    their order, which mixes the classes, and for changes that are refused.

    Args:
        split: where folders named `train`, `val` or `test` (or another usual name of these, in any case) say the side
            of a given split: `above` the folders of the classes or `below` them. Files that are in no class folder
            are left out then.
        seed: of the pseudo-random order in which the files are sent; files that come later come after those, in an
            order of their own.
        group: a regular expression to search in the id; its first capture group, or the whole match, is the sample's
            group, which stays on one side of a held-out split: a speaker, a patient.
    """

    kind: Literal["folder"] = "folder"
    split: Literal["above", "below"] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    group: Annotated[str, Field(min_length=1)] | None = None

    _step: sent_files.Step | None = PrivateAttr(None)
    _sequence: list[File] | None = PrivateAttr(None)
    _of_split: list[File] | None = PrivateAttr(None)

    @field_validator("group")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    def open(self) -> Self:
        source = super().open()
        source._step, source._sequence, source._of_split = None, None, None
        return source

    def count(self) -> int:
        self._check_files()
        return len(self.sequence())

    def read(self, start: int, count: int) -> list[SourceSample]:
        files = self.sequence()[start : start + count]
        return [self._sample(file, content) for file, content in zip(files, self.contents(files), strict=False)]

    def sequence(self) -> list[File]:
        """The files in the order of their positions, up to the end of the present step."""
        if self._sequence is None:
            if self._step is None:
                self._step = self._next_step(None)
            self._sequence = self._step.sequence(self.files())
        return self._sequence

    def resume(self, position: int, prefix: dict[str, Any], most: int) -> Self:  # noqa: ARG002 - a step has any size
        self.check_prefix(position, prefix)
        source = self._in_step(sent_files.step_of(prefix) if position else None)
        if source._step is not None and position >= len(source.sequence()):
            source = self._in_step(self._next_step(source._step.until))
        return source

    def again(self, start: int, count: int, prefix: dict[str, Any]) -> Self:
        self.check_prefix(start + count, prefix)
        return self._in_step(sent_files.step_of(prefix))

    def prefix(self, position: int) -> dict[str, Any]:
        sequence = self.sequence()
        return {} if self._step is None else sent_files.entry_of(self._step, sequence[:position])

    def check_prefix(self, position: int, prefix: dict[str, Any]) -> None:
        if not position:
            return
        if "hashes" not in prefix:
            raise SourceChanged(another_source(position))
        files = self.files()
        if not sent_files.are_those(sent_files.step_of(prefix).sequence(files)[:position], prefix):
            raise SourceChanged(self.with_links(sent_files.how_changed(self.path, files, position, prefix)))

    def _in_step(self, step: sent_files.Step | None) -> Self:
        source = self.model_copy()
        source._step, source._sequence = step, None
        return source

    def _next_step(self, after: sent_files.ArrivalPlace | None) -> sent_files.Step:
        """All files that have settled and that are newer than `after`."""
        settled = self.settled()
        until = settled[-1][:2] if settled else None
        return sent_files.Step(after, until if after is None or until is None else max(after, until), self.seed)

    def files(self) -> list[File]:
        if self.split is None:
            return super().files()
        if self._of_split is None:
            found = super().files()
            self._of_split = [file for file in found if len(self._folders(file)) > 1]
            if left := len(found) - len(self._of_split):
                first = next(file.name for file in found if len(self._folders(file)) < 2)
                where = f"{self.path}, {first!r} the first, are in no class's folder of a split"
                log.warning("%d files of %s and are left out.", left, where)
        return self._of_split

    def _check_files(self) -> None:
        classes: set[str] = set()
        for file in self.files():
            if "/" not in file.name:
                raise SourceRefused(
                    f"File {file.name!r} lies in {self.path} itself and in no folder that names its class: move it "
                    "into one, or name the suffixes of samples in [source]."
                )
            if file.size > MAX_SAMPLE_BYTES:
                raise SourceRefused(
                    f"File {file.name!r} in {self.path} has {file.size} bytes and no topic takes more than "
                    f"{MAX_SAMPLE_BYTES}: remove it, or name the suffixes of samples in [source]."
                )
            classes.add(self._label(file))
        if len(classes) < 2:
            named = f"files of one class only, {classes.pop()!r}" if classes else "no file in a class's folder"
            raise SourceRefused(
                f"Folder {self.path} has {named}: add a folder with those of another, or correct path of [source]."
            )

    def _sample(self, file: File, content: bytes) -> SourceSample:
        return SourceSample(
            file.name, content, label=self._label(file), group=self._group(file.name), split=self._side(file)
        )

    def _folders(self, file: File) -> list[str]:
        """The first folders of a file's path: its class, or its class and its side of the split in either order."""
        return file.name.split("/")[:-1][: 1 if self.split is None else 2]

    def _label(self, file: File) -> str:
        folders = self._folders(file)
        return normalize("NFC", folders[1] if self.split == "above" else folders[0])

    def _side(self, file: File) -> GivenSide | None:
        if self.split is None:
            return None
        folder = self._folders(file)[0 if self.split == "above" else 1]
        side = side_of(folder)
        if side is None:
            raise SourceRefused(
                f"Folder {folder!r} of {file.name!r} in {self.path} names no side of a split, and split = "
                f"{self.split!r} of [source] says that it does: name it train, val or test, or correct split."
            )
        return side

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
