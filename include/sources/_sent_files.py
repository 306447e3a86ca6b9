"""A compact record of the files that were sent, and which file was inserted, changed or removed since.

A position names the same file only while the files before it stay the same. If a file that was sent is removed or
changed, or a new one arrives with an older time (`cp -p`, `unzip`), all later positions shift: one file would be sent
twice and another never.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from include.sources._listing import File


def told(files: Sequence[File]) -> dict[str, Any]:
    """The files as a ledger entry: a hash of their names, and the last one."""
    if not files:
        return {}
    return {"hashes": f"{_hashes(files):032x}", "changed": files[-1].changed, "name": files[-1].name}


def are_those(files: Sequence[File], sent: dict[str, Any]) -> bool:
    """Whether these files, in any order, are those of `sent`."""
    return _hashes(files) == int(sent["hashes"], 16)


def how_changed(path: str, files: Sequence[File], number: int, sent: dict[str, Any]) -> str:
    """Why the first `number` of `files`, all files in `path` now, are not those of `sent`."""
    hashes = int(sent["hashes"], 16)
    before = [file for file in files if file[:2] <= (sent["changed"], sent["name"])]
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
        f"The {len(before)} files in {path} with times of change up to {_time(sent['changed'])} are not the {number} "
        "that were sent: restore those that are gone or changed, with their times, and touch those that came since, so "
        "that they come last and are sent next."
    )


def _only(files: Iterable[File], difference: int) -> File | None:
    """The one file by which two sets with this difference of hashes differ."""
    return next((file for file in files if _hashes([file]) == difference % 2**128), None)


def _hashes(files: Iterable[File]) -> int:
    """Sum of the 128-bit hashes of the names: the same in any order, and the difference of two sets names one file."""
    return sum(int.from_bytes(hashlib.blake2b(f.name.encode(), digest_size=16).digest()) for f in files) % 2**128


def _time(changed: float) -> str:
    return datetime.fromtimestamp(changed, UTC).isoformat(sep=" ", timespec="seconds")
