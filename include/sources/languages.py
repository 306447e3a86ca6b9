"""The texts of Airflow's interface in the languages that it ships (Apache-2.0; by its translators)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from include.sources.base import Source, SourceChanged, SourceRefused, SourceSample, another_source, fingerprint

PACKAGE = "apache-airflow-core"
LOCALES = "airflow/ui/dist/i18n/locales"
ENGLISH = "en"

# What i18next interpolates, or nests from another message: https://www.i18next.com/translation-function/interpolation
FILLED_IN = re.compile(r"\{\{.*?\}\}|\$t\(.*?\)")
# The plural forms of https://cldr.unicode.org/index/cldr-spec/plural-rules, as i18next appends them to a key.
PLURAL = re.compile(r"_(zero|one|two|few|many|other)$")
LETTERS = 2


@dataclass(frozen=True)
class Message:
    """One text: `key` is its file and its path there, `text` the part in the language itself."""

    language: str
    key: str
    text: str


class LanguagesSource(Source):
    """Texts as UTF-8, labelled with the language's code as Airflow has it: `de`, `zh-TW`.

    They are read from the installed package's files without importing Airflow. A sample's group is its message without
    the plural form, so all translations of a message are on one side of a held-out split. Texts that several languages
    share are left out, see `own_texts`. The order is that of the ids' SHA-256, which mixes the languages.
    """

    kind: Literal["languages"] = "languages"

    def count(self) -> int:
        return len(_samples(*_shipped()))

    def read(self, start: int, count: int) -> list[SourceSample]:
        return _samples(*_shipped())[start : start + count]

    def prefix(self, position: int) -> dict[str, Any]:
        folder, version = _shipped()
        return {"texts": fingerprint(_samples(folder, version)[:position]), "version": version}

    def check_prefix(self, position: int, prefix: dict[str, Any]) -> None:
        if not position:
            return
        if "texts" not in prefix:
            raise SourceChanged(another_source(position))
        found = self.prefix(position)
        if found["texts"] != prefix["texts"]:
            raise SourceChanged(
                f"The first {position} texts of {PACKAGE} {found['version']} are not those that were sent from its "
                f"version {prefix['version']}: install that one, or give the pipeline's file a new name, which begins "
                "again."
            )


def _shipped() -> tuple[Path, str]:
    """The folder of the translations, and their version."""
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise SourceRefused(
            f"Package {PACKAGE} is not installed here, and its texts are the source: add it."
        ) from error
    return Path(str(package.locate_file(LOCALES))), package.version


@cache
def _samples(folder: Path, version: str) -> list[SourceSample]:  # noqa: ARG001 - another version has other texts
    """All translations, 2 MB."""
    try:
        messages = own_texts(list(_messages(folder)))
    except (OSError, ValueError) as error:
        raise SourceRefused(f"Folder {folder} has no readable translations ({error}): reinstall {PACKAGE}.") from error
    if not messages:
        raise SourceRefused(f"Folder {folder} has no translations: install the {PACKAGE} that requirements.txt names.")
    samples = [
        SourceSample(
            id=f"{message.language}/{message.key}",
            content=message.text.encode(),
            label=message.language,
            group=PLURAL.sub("", message.key),
        )
        for message in messages
    ]
    return sorted(samples, key=lambda sample: hashlib.sha256(sample.id.encode()).digest())


def own_texts(messages: list[Message]) -> list[Message]:
    """The texts that belong to one language, each once, compared without case.

    A text that equals the English one was not translated and counts as English; a text that several other languages
    share (the two Chinese scripts, Spanish and Portuguese) is left out of all of them.
    """
    first: dict[tuple[str, str], Message] = {}
    languages: dict[str, set[str]] = {}
    for message in messages:
        text = message.text.casefold()
        first.setdefault((message.language, text), message)
        languages.setdefault(text, set()).add(message.language)
    return [
        message
        for (language, text), message in first.items()
        if len(languages[text]) == 1 or (language == ENGLISH and ENGLISH in languages[text])
    ]


def _messages(folder: Path) -> Iterator[Message]:
    """The texts in order of language, file and place."""
    for path in sorted(folder.glob("*/*.json")):
        for key, content in _flat(json.loads(path.read_bytes()), path.name):
            text = " ".join(FILLED_IN.sub(" ", content).split())
            if sum(map(str.isalpha, text)) >= LETTERS:
                yield Message(path.parent.name, key, text)


def _flat(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict):
        for name, child in node.items():
            yield from _flat(child, f"{key}/{name}")
