"""The order of a folder's files, a compact record of those that were sent, and which file broke it.

Folders are mostly copied or unpacked class by class, so files are sent in a pseudo-random order, by a hash of their
names. Positions are permanent, and a folder grows: so it is sent in steps. A step has all files that are there when it
begins and that are newer than the files of earlier steps; within a step the hash decides, and the next step begins when
all of it was sent. The ledger keeps where a step begins and ends.

A position names the same file only while the files before it stay the same. If a file that was sent is removed or
changed, or a new one arrives with an older time (`cp -p`, `unzip`) and takes a place among those that were sent, all
later positions shift: one file would be sent twice and another never. What was not sent yet may change, go and come.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from include.sources._listing import File

# Time of change and name of a file: its place in the order of arrival.
ArrivalPlace = tuple[float, str]


@dataclass(frozen=True)
class Step:
    """The files between two places in the order of arrival.

    Attributes:
        after: the last place of the steps before it; None for the first step.
        until: its own last place; None for a step without files.
        seed: of the order; None for the order of arrival, which the ledger's entries from before steps have.
    """

    after: ArrivalPlace | None
    until: ArrivalPlace | None
    seed: int | None

    def sequence(self, files: Sequence[File]) -> list[File]:
        """The files of earlier steps in the order of arrival, then those of this one in its own order."""
        earlier = [file for file in files if self._is_earlier(file)]
        mine = [file for file in files if self._is_mine(file)]
        return earlier + (mine if self.seed is None else sorted(mine, key=lambda file: self._key(file.name)))

    def reaches(self, file: File, last: str) -> bool:
        """Whether a file has a place before or at that of the file named `last`, of this step."""
        if self._is_earlier(file):
            return True
        return self._is_mine(file) and (self.seed is None or self._key(file.name) <= self._key(last))

    def _is_earlier(self, file: File) -> bool:
        return self.after is not None and file[:2] <= self.after

    def _is_mine(self, file: File) -> bool:
        return self.until is not None and not self._is_earlier(file) and file[:2] <= self.until

    def _key(self, name: str) -> tuple[bytes, str]:
        salt = (self.seed or 0).to_bytes(8, "big")
        return hashlib.blake2b(name.encode(), digest_size=8, salt=salt, person=b"order").digest(), name


def entry_of(step: Step, sent: Sequence[File]) -> dict[str, Any]:
    """The files that were sent as a ledger entry: a hash of their names, the last one, and the step."""
    if not sent or step.until is None:
        return {}
    entry: dict[str, Any] = {"hashes": f"{_hashes(sent):032x}"}
    if step.seed is None:
        return {**entry, "changed": sent[-1].changed, "name": sent[-1].name}
    changed, name = step.until
    after = None if step.after is None else list(step.after)
    return {**entry, "changed": changed, "name": name, "after": after, "seed": step.seed, "last": sent[-1].name}


def step_of(entry: dict[str, Any]) -> Step:
    """The step of a ledger entry; one from before there were steps has all of its files in the order of arrival."""
    until = float(entry["changed"]), str(entry["name"])
    if "seed" not in entry:
        return Step(None, until, None)
    after = entry["after"]
    return Step(None if after is None else (float(after[0]), str(after[1])), until, int(entry["seed"]))


def are_those(files: Sequence[File], sent: dict[str, Any]) -> bool:
    """Whether these files, in any order, are those of `sent`."""
    return _hashes(files) == int(sent["hashes"], 16)


def how_changed(path: str, files: Sequence[File], number: int, sent: dict[str, Any]) -> str:
    """Why the first `number` of `files`, all files in `path` now, are not those of `sent`."""
    hashes = int(sent["hashes"], 16)
    step = step_of(sent)
    before = [file for file in files if step.reaches(file, str(sent.get("last", "")))]
    came = len(before) - number
    if came == 1 and (one := _only(before, _hashes(before) - hashes)):
        return (
            f"File {one.name!r} in {path} came between files that were sent, by its time of change "
            f"{_time(one.changed)}: touch it, so that it comes last and is sent next, or remove it."
        )
    if came == -1 and (one := _only(files, hashes - _hashes(before))):
        return (
            f"File {one.name!r} in {path} was sent and has changed since, {_time(one.changed)}: restore it with its "
            "former time of change, and add what is new under another name."
        )
    return (
        f"The {len(before)} files in {path} that have the places of files that were sent, with times of change up to "
        f"{_time(sent['changed'])}, are not the {number} that were sent: restore those that are gone or changed, with "
        "their times, and touch those that came since, so that they come last and are sent next."
    )


def _only(files: Iterable[File], difference: int) -> File | None:
    """The one file by which two sets with this difference of hashes differ."""
    return next((file for file in files if _hashes([file]) == difference % 2**128), None)


def _hashes(files: Iterable[File]) -> int:
    """Sum of the 128-bit hashes of the names: the same in any order, and the difference of two sets names one file."""
    return sum(int.from_bytes(hashlib.blake2b(f.name.encode(), digest_size=16).digest()) for f in files) % 2**128


def _time(changed: float) -> str:
    return datetime.fromtimestamp(changed, UTC).isoformat(sep=" ", timespec="seconds")
