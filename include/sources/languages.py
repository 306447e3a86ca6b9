"""The texts of Airflow's interface in the languages that it ships (Apache-2.0; by its translators)."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from include.sources._packaged import PackagedSource
from include.sources.base import SourceSample

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


class LanguagesSource(PackagedSource):
    """Texts as UTF-8, labelled with the language's code as Airflow has it: `de`, `zh-TW`.

    A sample's group is its message without the plural form, so all translations of a message are on one side of a
    held-out split. Texts that several languages share are left out, see `own_texts`.
    """

    kind: Literal["languages"] = "languages"

    package: ClassVar[str] = "apache-airflow-core"
    place: ClassVar[str] = "airflow/ui/dist/i18n/locales"
    noun: ClassVar[str] = "texts"

    @classmethod
    def load(cls, path: Path) -> list[SourceSample]:
        messages = own_texts(list(_messages(path)))
        if not messages:
            raise ValueError("it has no translations")
        return [
            SourceSample(
                id=f"{message.language}/{message.key}",
                content=message.text.encode(),
                label=message.language,
                group=PLURAL.sub("", message.key),
            )
            for message in messages
        ]


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
