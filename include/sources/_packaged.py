"""Base of the sources whose samples come from the files of an installed package, which is not imported for it."""

import hashlib
from abc import abstractmethod
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from include.sources.base import Source, SourceChanged, SourceRefused, SourceSample, another_source, fingerprint


class PackagedSource(Source):
    """Samples in the order of their ids' SHA-256, which mixes the classes; another version may have other ones.

    Attributes:
        package: the name of the distribution.
        place: its file or folder with the samples.
        noun: what samples are called, in the plural; also the key of their fingerprint in a prefix.
    """

    package: ClassVar[str]
    place: ClassVar[str]
    noun: ClassVar[str]

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> list[SourceSample]:
        """All samples of the file or folder, in any order.

        Raises:
            OSError, EOFError, ValueError, KeyError: it can't be read.
        """

    def count(self) -> int:
        return len(self._shipped()[0])

    def read(self, start: int, count: int) -> list[SourceSample]:
        return self._shipped()[0][start : start + count]

    def prefix(self, position: int) -> dict[str, Any]:
        samples, version = self._shipped()
        return {self.noun: fingerprint(samples[:position]), "version": version}

    def check_prefix(self, position: int, prefix: dict[str, Any]) -> None:
        if not position:
            return
        if self.noun not in prefix:
            raise SourceChanged(another_source(position))
        found = self.prefix(position)
        if found[self.noun] != prefix[self.noun]:
            raise SourceChanged(
                f"The first {position} {self.noun} of {self.package} {found['version']} are not those that were sent "
                f"from its version {prefix['version']}: install that one, or give the pipeline's file a new name, "
                "which begins again."
            )

    def _shipped(self) -> tuple[list[SourceSample], str]:
        """The samples, and the package's version."""
        try:
            package = metadata.distribution(self.package)
        except metadata.PackageNotFoundError as error:
            raise SourceRefused(
                f"Package {self.package} is not installed here, and its {self.noun} are the source: add it."
            ) from error
        return _samples(type(self), Path(str(package.locate_file(self.place))), package.version), package.version


@cache
def _samples(source: type[PackagedSource], path: Path, version: str) -> list[SourceSample]:  # noqa: ARG001 - part of the key
    try:
        samples = source.load(path)
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise SourceRefused(
            f"Package {source.package} has no readable {source.noun} in {path} ({error}): install the one that "
            "requirements.txt names."
        ) from error
    return sorted(samples, key=lambda sample: hashlib.sha256(sample.id.encode()).digest())
