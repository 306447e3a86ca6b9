"""Symbolic links below a folder: which are followed, and which are left out and counted."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Why = Literal["outside", "loop", "broken"]
TARGETS: dict[Why, str] = {
    "outside": "out of the folder: set follow_links = true in [source] to follow such links",
    "loop": "to a folder above it",
    "broken": "to nothing",
}
# A path may lead through this many links to folders, as many as Linux follows.
MAX_NESTED = 40


@dataclass
class Links:
    """The links of one folder.

    Attributes:
        root: the folder.
        follow: also follow links out of it.
        left_out: the links that are not followed, by the reason.
    """

    filesystem: AbstractFileSystem
    root: str
    follow: bool
    left_out: dict[Why, list[str]] = field(default_factory=dict)

    def target(self, link: str, holders: Sequence[str]) -> dict[str, Any] | None:
        """What a link leads to, as fsspec's info; None if the link is left out.

        Args:
            holders: the real paths of the folder that holds it, and of those that held the links before it.
        """
        try:
            info: dict[str, Any] = self.filesystem.info(link)
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and error.errno != errno.ELOOP:
                raise
            self._leave_out(link, "broken" if isinstance(error, FileNotFoundError) else "loop")
            return None
        # Only for a local link is it known where it leads.
        inside = is_local(self.filesystem) and is_below(real_path(link), real_path(self.root))
        if not self.follow and not inside:
            self._leave_out(link, "outside")
            return None
        if info["type"] == "directory":
            real = self.real_path(link)
            if len(holders) > MAX_NESTED or any(is_below(holder, real) for holder in holders):
                self._leave_out(link, "loop")
                return None
        return info

    def real_path(self, path: str) -> str:
        """The path without links; the path itself on a filesystem that does not show where they lead."""
        return real_path(path) if is_local(self.filesystem) else path

    def sentences(self) -> list[str]:
        """How many links are left out for each reason, and the first of them."""
        return [
            f"{len(links)} links in {self.root}, {min(links)!r} the first, lead {TARGETS[why]}"
            if len(links) > 1
            else f"the link {links[0]!r} in {self.root} leads {TARGETS[why]}"
            for why, links in sorted(self.left_out.items())
        ]

    def _leave_out(self, link: str, why: Why) -> None:
        self.left_out.setdefault(why, []).append(link.removeprefix(self.root).lstrip("/"))


def is_local(filesystem: AbstractFileSystem) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(filesystem, LocalFileSystem)


def real_path(path: str) -> str:
    """The path without links, with `/` between the parts as fsspec has it."""
    return os.path.realpath(path).replace(os.sep, "/")


def is_below(path: str, folder: str) -> bool:
    """Whether a real path is that of a folder or of something in it."""
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")
