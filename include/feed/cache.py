"""Blocks of a manifest on local disk, so that an epoch need not read from the log what an earlier one has read."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import mmap
import shutil
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from include.errors import one_line
from include.feed.manifest import Manifest
from include.feed.selection import RecordOutcome, Selection
from include.kafka.ranges import OffsetRange
from include.refusal import Refusal
from include.storage.atomic import ASIDE, remove_leftovers
from include.storage.state import make_folder

if TYPE_CHECKING:
    import numpy as np

    SampleType = tuple[np.dtype[Any], tuple[int, ...]]

log = logging.getLogger(__name__)

# What may wait for the disk. Beyond it blocks are left out, so that reading never waits for writing.
WAITING_BYTES = 64 * 2**20
HEAD = struct.Struct("<6qQ")


class DamagedBlock(Exception):
    """A file is not what was written."""


class _Head(NamedTuple):
    """What precedes a selection in a file: its offsets, the sizes of its parts in bytes, and their checksum."""

    start: int
    end: int
    rows: int
    lengths: int
    values: int
    refusals: int
    checksum: int


@dataclass(frozen=True)
class FeedCache:
    """Where the caches of a training's feeds are, and how many bytes each may have."""

    folder: Path
    limit: int

    def blocks(
        self, manifest: Manifest, depends_on: Sequence[Any], row: np.dtype[Any], sample: SampleType | None
    ) -> BlockCache:
        """The cache of a feed, named by the manifest and by what else its files depend on; see `BlockCache`."""
        key = json.dumps([manifest.digest, *depends_on], sort_keys=True).encode()
        folder = self.folder / f"{manifest.id}-{hashlib.sha256(key).hexdigest()[:8]}"
        return BlockCache(folder, self.limit, row, sample)


class BlockCache:
    """A file for each block that was read to its end, with the block's selections one after the other.

    A file has its name only when it is complete. It is not synced to disk, for a damaged file costs no more than a
    missing one: checksums are compared at every reading.

    Args:
        folder: has these files and nothing else, and is this process's alone.
        limit: bytes of all files; at most half of what is free on the disk is used.
        row: see `include.feed.selection.row_type`.
        sample: dtype and shape of a decoded sample; None where the values are encoded.
    """

    def __init__(self, folder: Path, limit: int, row: np.dtype[Any], sample: SampleType | None) -> None:
        make_folder(folder)
        remove_leftovers(folder)
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        self.folder = folder
        self.present = set(sizes)
        self.room = min(limit - sum(sizes.values()), shutil.disk_usage(folder).free // 2)
        self._row = row
        self._sample = sample

    def has(self, block: OffsetRange) -> bool:
        return name_of(block) in self.present

    def read(self, block: OffsetRange) -> Iterator[Selection]:
        """The selections of a block that the cache has; they end early at damage, and the file is removed then."""
        path = self.folder / name_of(block)
        try:
            yield from self._selections(path, block)
        except (OSError, DamagedBlock) as error:
            log.warning("The cached block %s is removed, and read from the log: %s", path, one_line(error))
            self.present.discard(path.name)
            path.unlink(missing_ok=True)

    def _selections(self, path: Path, block: OffsetRange) -> Iterator[Selection]:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b"")
        place, reached = 0, block.start
        while reached < block.end:
            head = _Head._make(HEAD.unpack_from(content, place) if len(content) >= place + HEAD.size else [0] * 7)
            ends = list(accumulate(head[2:6], initial=place + HEAD.size))
            if not head.start == reached < head.end <= block.end or ends != sorted(ends) or ends[-1] > len(content):
                raise DamagedBlock(f"Byte {place} of {len(content)} begins no selection of offset {reached}.")
            if _checksum(content[ends[0] : ends[-1]]) != head.checksum:
                raise DamagedBlock(f"The checksum of the selection at byte {place} is another than was written.")
            yield self._selection(head, [content[first:end] for first, end in pairwise(ends)])
            place, reached = ends[-1], head.end

    def _selection(self, head: _Head, parts: list[memoryview]) -> Selection:
        import numpy as np

        rows, lengths, packed, refusals = parts
        # The padding is shorter than a row, whose size need not be a multiple of it.
        records = np.frombuffer(rows, self._row, len(rows) // self._row.itemsize)
        values: list[bytes | None] | np.ndarray[Any, Any]
        if self._sample is None:
            sizes = np.frombuffer(lengths, "<i8").tolist()
            ends = accumulate((max(size, 0) for size in sizes), initial=0)
            values = [
                None if size < 0 else bytes(packed[first:end])
                for size, (first, end) in zip(sizes, pairwise(ends), strict=True)
            ]
        else:
            dtype, shape = self._sample
            samples = int((records["outcome"] <= RecordOutcome.UNDECODABLE).sum())
            values = np.frombuffer(packed, dtype, samples * math.prod(shape)).reshape(samples, *shape)
        reasons = json.loads(bytes(refusals))
        return Selection(
            head.start,
            head.end,
            records,
            values,
            {int(offset): Refusal(**reason) for offset, reason in reasons.items()},
        )


@contextmanager
def writing(cache: BlockCache) -> Iterator[CacheWriter]:
    """A writer with a thread of its own; at the end of the context all that it took is written."""
    with ThreadPoolExecutor(1, thread_name_prefix="feed-cache") as pool:
        writer = CacheWriter(cache, pool)
        try:
            yield writer
        finally:
            pool.submit(writer.drop).result()
        if writer.error is not None:
            raise writer.error


class CacheWriter:
    """Writes selections to a cache; an error of the disk ends the caching and nothing else."""

    def __init__(self, cache: BlockCache, pool: ThreadPoolExecutor) -> None:
        self._cache = cache
        self._pool = pool
        self._file: IO[bytes] | None = None
        # The block that is being written, and the offset up to which it is.
        self._reached: tuple[str, int] | None = None
        self.error: BaseException | None = None
        # Each is changed by one thread alone.
        self._taken = self._written = 0

    def add(self, block: OffsetRange, selection: Selection) -> None:
        """Take a selection to be written, unless too much is waiting; a block with a gap is not cached."""
        if self._cache.room > 0 and self._taken - self._written <= WAITING_BYTES:
            self._taken += selection.nbytes
            self._pool.submit(self._write, block, selection).add_done_callback(self._note)

    def drop(self) -> None:
        """Remove the file of an unfinished block."""
        if self._file is not None:
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)
        self._file = None

    def _write(self, block: OffsetRange, selection: Selection) -> None:
        try:
            self._append(block, selection)
        except OSError as error:
            self._cache.room = 0
            self.drop()
            log.warning("No more blocks are cached in %s: %s", self._cache.folder, one_line(error))
        self._written += selection.nbytes

    def _note(self, job: Future[None]) -> None:
        self.error = self.error or job.exception()

    def _append(self, block: OffsetRange, selection: Selection) -> None:
        name = name_of(block)
        if selection.start == block.start:
            self.drop()
            self._file = (self._cache.folder / f"{ASIDE}{name}").open("wb")
            self._reached = (name, block.start)
        if self._file is None or self._reached != (name, selection.start):
            return
        parts = [_padded(part) for part in _parts(selection)]
        checksum = sum(map(_checksum, parts)) % 2**64
        self._file.write(HEAD.pack(selection.start, selection.end, *map(len, parts), checksum))
        self._file.writelines(parts)
        self._reached = (name, selection.end)
        if self._file.tell() > self._cache.room:
            log.info("The cache %s is full; the other blocks are read from the log in every epoch.", self._cache.folder)
            self._cache.room = 0
            self.drop()
        elif selection.end == block.end:
            self._cache.room -= self._file.tell()
            self._file.close()
            Path(self._file.name).rename(self._cache.folder / name)
            self._file = None
            self._cache.present.add(name)


def name_of(block: OffsetRange) -> str:
    """The name of a block's file."""
    return f"{block.partition}-{block.start}-{block.end}"


def _parts(selection: Selection) -> list[bytes | memoryview]:
    """Rows, lengths of encoded values, values and refusals."""
    import numpy as np

    values, lengths = selection.values, b""
    packed: bytes | memoryview
    if isinstance(values, np.ndarray):
        packed = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    else:
        lengths = np.array([-1 if value is None else len(value) for value in values], "<i8").tobytes()
        packed = b"".join(filter(None, values))
    refusals = json.dumps({offset: asdict(refusal) for offset, refusal in selection.refusals.items()}).encode()
    return [selection.rows.tobytes(), lengths, packed, refusals]


def _padded(part: bytes | memoryview) -> bytes | memoryview:
    """The part with spaces behind it up to a multiple of 8 bytes."""
    missing = -len(part) % 8
    return b"".join((part, b" " * missing)) if missing else part


def _checksum(body: bytes | memoryview) -> int:
    """The sum of its 64-bit words: it finds what was never written or has changed, in a tenth of a CRC-32's time."""
    import numpy as np

    return int(np.frombuffer(body, "<u8").sum(dtype=np.uint64))
