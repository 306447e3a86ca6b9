"""People who open the page, and what they see."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from httpx import Response

T = TypeVar("T")

TIMEOUT_S = 30
# Elements and attributes by which a page would run a program or fetch from elsewhere.
ACTIVE = {"iframe", "object", "embed", "base", "style", "math", "foreignobject"}
# What a record may hold in any of its fields.
ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "javascript:alert(1)",
    "</title></style></textarea><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202e\x00\x1b[2J",
)


class Seen(HTMLParser):
    """A page's elements and its text, read as a browser reads them.

    Attributes:
        elements: names with their attributes.
        text: all of it, its blanks joined.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._words: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self._words.append(data)

    def links(self) -> list[str]:
        return [attributes.get("href") or "" for tag, attributes in self.elements if tag == "a"]

    def active(self) -> list[str]:
        """What could run a program or fetch from another server; empty on every page."""
        found = [tag for tag, _ in self.elements if tag in ACTIVE]
        for tag, attributes in self.elements:
            found += [f"{tag} {name}" for name in attributes if name.startswith("on") or name in ("style", "srcdoc")]
            found += [
                f"{tag} {name}={value}"
                for name, value in attributes.items()
                if name in ("href", "src", "action", "formaction", "xlink:href")
                and (value or "").strip().lower().startswith(("javascript:", "data:", "//", "vbscript:"))
            ]
            if tag == "script" and not (attributes.get("src") or "").startswith("/millrace/static/"):
                found.append("script")
        return found


@dataclass(frozen=True)
class Person:
    """Somebody with a browser."""

    client: TestClient

    def get(self, path: str = "/") -> Response:
        return self.client.get(f"/millrace{path}")

    def see(self, path: str = "/") -> Seen:
        """A page when all of it has been read."""

        def ready() -> Seen | None:
            answer = self.get(path)
            assert answer.status_code == 200, answer.text
            seen = Seen(answer.text)
            return None if any("data-pending" in attributes for _, attributes in seen.elements) else seen

        return wait_for(ready)


# Opens the page as a person with a role of Airflow's, or as nobody.
Visit = Callable[[str | None], Person]


def wait_for(look: Callable[[], T | None], timeout_s: float = TIMEOUT_S) -> T:
    """The first result that is not None."""
    deadline = time.monotonic() + timeout_s
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it has not come in time"
        time.sleep(0.02)
    return found
