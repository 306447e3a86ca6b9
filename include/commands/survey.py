"""A survey of a folder or a table, for a new pipeline's file; its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from unicodedata import normalize

from include.codecs import ImageCodec
from include.codecs.base import Codec
from include.commands.image_format import NoPipelineFits, counted, format_of, image_codecs, pillow_format_of
from include.errors import PermanentError
from include.given_split import side_of
from include.sources import File
from include.sources.base import SourceRefused, SourceSample
from include.sources.folder import FolderSource
from include.sources.table import TableSource
from include.storage.state import PROJECT_ROOT

# At most so many samples are opened; all are counted.
LOOKED_AT = 500
SHOWN_FOLDERS = 5
# Of large images fewer rows of a table are opened: together they have about so many bytes.
FEWEST, OPENED_BYTES = 8, 256 * 2**20
# A column with more values is one of classes only if most of them come several times.
MANY_CLASSES = 1000
ROWS_OF_A_CLASS = 2
ROWS_AT_ONCE = 1000
# Storages that need credentials.
CONNECTED = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "sftp")


@dataclass(frozen=True)
class Survey:
    """The result of a survey.

    Attributes:
        source: the `[source]` table.
        noun: what one sample is called.
        codec: the format of the samples.
        form: the format's size or length, for a person.
        labels: samples of each class, in order of name.
        unlabelled: samples without one.
        largest: bytes of the largest known sample.
        opened: how many were opened.
        unfit: the invalid ones among those, each with its reason.
        left_out: files that are not samples, by the ending of their names.
        notes: sentences on what differs among the samples.
        given_split: whether the data come divided into samples to train on and others.
    """

    noun: str
    source: dict[str, Any]
    codec: Codec
    form: str
    labels: dict[str, int]
    largest: int
    opened: int
    unlabelled: int = 0
    unfit: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    given_split: bool = False

    @property
    def samples(self) -> int:
        return sum(self.labels.values()) + self.unlabelled


def survey_folder(path: str) -> Survey:
    """A folder with one folder of images a class.

    Raises:
        NoPipelineFits: it is missing, or has no images, classes or sizes for one pipeline.
        SourceRefused, SourceUnreachable: see `include.sources._files`.
    """
    path = existing(path)
    source = folder_of(path)
    files = source.files()
    pillow_format, images = _of_one_format(path, files)
    folders = class_folders(path, images, "images")
    images = list(folders.files)
    suffixes = tuple(sorted({suffix_of(file) for file in images}))
    opened = spread_over_folders(images)
    found = format_of(path, pillow_format, contents(source, opened))
    return Survey(
        noun="image",
        source={"kind": "folder", "path": path, **folders.settings, "suffixes": list(suffixes)},
        codec=found.codec,
        form=_form(found.codec),
        labels=folders.labels,
        given_split=folders.given,
        largest=max(file.size for file in images),
        opened=len(opened),
        unfit=found.unfit,
        notes=(*folders.notes, *found.notes),
        left_out=dict(
            Counter(suffix_of(file) or "without ending" for file in files if suffix_of(file) not in suffixes)
        ),
    )


def survey_table(path: str, *, content: str, label: str, sample_id: str | None = None) -> Survey:
    """The rows of tables, with images in or beside them.

    Raises:
        NoPipelineFits: there are no images, classes or sizes for one pipeline.
        SourceRefused, SourceUnreachable: see `include.sources.table`, such as for a missing column.
    """
    path = existing(path)
    labels, unlabelled = labels_of(path, label)
    content_is, samples = _images_of(path, content, sample_id)
    pillow_format = next(name for sample in samples if (name := pillow_format_of(sample.content)))
    found = format_of(path, pillow_format, ((sample.id, sample.content) for sample in samples))
    table = {"kind": "table", "path": path, "content": content, "content_is": content_is, "label": label}
    return Survey(
        noun="image",
        source=table if sample_id is None else {**table, "id": sample_id},
        codec=found.codec,
        form=_form(found.codec),
        labels=labels,
        largest=max(len(sample.content) for sample in samples),
        opened=len(samples),
        unlabelled=unlabelled,
        unfit=found.unfit,
        notes=found.notes,
    )


def folder_of(path: str) -> FolderSource:
    """A folder's files of any kind."""
    if "://" not in path and not (PROJECT_ROOT / path).is_dir():
        raise NoPipelineFits(f"Path {path} is a file and a folder was expected: correct --path, or use --source table.")
    return FolderSource(path=path).open()


def columns_of(path: str) -> list[str]:
    """The columns of a table, or of the first one in a folder; empty if they can't be read."""
    source = TableSource(path=existing(path), content="any").open()
    source.files()
    try:
        return source.columns()
    except SourceRefused:
        return []


def _form(codec: ImageCodec) -> str:
    return f"{codec.width}x{codec.height} pixels, {'gray' if codec.channels == 1 else 'RGB'}"


def existing(path: str) -> str:
    """The path for a pipeline's file: relative inside the project, else absolute."""
    scheme, found_scheme, _ = path.partition("://")
    if scheme in CONNECTED:
        raise NoPipelineFits(
            f"Path {path} needs an Airflow connection, which this command cannot read: run it on a local folder "
            "with some of the samples, then write path and connection of the storage into [source] of the new file."
        )
    if found_scheme:
        return path
    found = Path(path).expanduser().absolute()
    if not found.exists():
        raise NoPipelineFits(f"Path {path} does not exist: correct --path.")
    return str(found.relative_to(PROJECT_ROOT) if found.is_relative_to(PROJECT_ROOT) else found)


def suffix_of(file: File) -> str:
    return PurePosixPath(file.name).suffix.lower()


def _of_one_format(path: str, files: Sequence[File]) -> tuple[str, list[File]]:
    from PIL import Image

    known, codecs = Image.registered_extensions(), image_codecs()
    images: dict[str, list[File]] = {}
    for file in files:
        if (name := known.get(suffix_of(file), "")) in codecs:
            images.setdefault(name, []).append(file)
    if not images:
        raise NoPipelineFits(
            f"Folder {path} holds no {' or '.join(sorted(codecs))} image; its {len(files)} files are "
            f"{counted(suffix_of(file) or 'without ending' for file in files)}: correct --path, or convert them."
        )
    if len(images) > 1:
        raise NoPipelineFits(
            f"Folder {path} holds images of several formats, {counted(name for name in images for _ in images[name])},"
            " and a pipeline has one: convert the others, or give each format a folder and a pipeline of its own."
        )
    return next(iter(images.items()))


@dataclass(frozen=True)
class ClassFolders:
    """The classes of the files of a folder.

    Attributes:
        files: those that have a class.
        labels: how many of each class, in order of name.
        settings: of the `[source]` table.
        given: whether the folders give a split with samples on both sides.
        notes: sentences for the user.
    """

    files: tuple[File, ...]
    labels: dict[str, int]
    settings: dict[str, Any]
    given: bool
    notes: tuple[str, ...]


def class_folders(path: str, files: Sequence[File], noun: str) -> ClassFolders:
    """Files in the folder of each class, and the split that folders named train, val or test give.

    Args:
        noun: names the files in an error.

    Raises:
        NoPipelineFits: some files are in no class, there are fewer than two classes, or some folders are of a split and
            others are not.
    """
    folders = [tuple(file.name.split("/")[:-1]) for file in files]
    first = {parts[0] for parts in folders if parts}
    above = {name for name in first if side_of(name)}
    deeper = {parts[0] for parts in folders if len(parts) > 1}
    if above and above == first and above & deeper:
        return _split_folders(path, files, noun, "above")
    if {side_of(name) for name in above & deeper} > {"train"}:
        others = sorted(first - above)
        raise NoPipelineFits(
            f"Folder {path} has the folders {', '.join(map(repr, sorted(above)))} of a split beside "
            f"{', '.join(map(repr, others[:SHOWN_FOLDERS]))}: move these away, or into the folder of a side."
        )
    if folders and all(len(parts) > 1 and side_of(parts[1]) for parts in folders):
        return _split_folders(path, files, noun, "below")
    bare = [file.name for file in files if "/" not in file.name]
    if bare:
        raise NoPipelineFits(
            f"Folder {path} has {len(bare)} {noun}, {bare[0]!r} the first, in no folder that names their class: move "
            "each of them into a folder with the name of its class."
        )
    labels = several(f"Folder {path} has {noun}", Counter(normalize("NFC", parts[0]) for parts in folders))
    return ClassFolders(tuple(files), labels, {}, given=False, notes=())


def _split_folders(path: str, files: Sequence[File], noun: str, split: Literal["above", "below"]) -> ClassFolders:
    with_class = [file for file in files if file.name.count("/") > 1]
    class_place, side_place = (1, 0) if split == "above" else (0, 1)
    parts = [file.name.split("/") for file in with_class]
    sides = Counter(side_of(names[side_place]) or "" for names in parts)
    labels = Counter(normalize("NFC", names[class_place]) for names in parts)
    given = sides["train"] > 0 and sides.total() > sides["train"]
    counts = ", ".join(f"{side} {sides[side]:,}" for side in ("train", "val", "test") if sides[side])
    notes = [
        f"The folders give a split ({counts}): the file says to hold out val and test."
        if given
        else f"The folders name only one side of a split ({counts}): the file says to hold out a share by a hash."
    ]
    if left := len(files) - len(with_class):
        notes.append(f"{left:,} {noun} of the split lie in no class's folder and are left out.")
    named = several(f"Folder {path} has {noun}", labels)
    return ClassFolders(tuple(with_class), named, {"split": split}, given=given, notes=tuple(notes))


def spread_over_folders(files: Sequence[File]) -> list[File]:
    """At most `LOOKED_AT` files: of every folder as many, or all of a smaller one, evenly over its names."""
    by_folder: dict[str, list[File]] = {}
    for file in sorted(files, key=lambda file: file.name):
        by_folder.setdefault(file.name.rpartition("/")[0], []).append(file)
    chosen: list[File] = []
    smallest_first = sorted(by_folder.values(), key=len)
    for number, found in enumerate(smallest_first):
        share = (LOOKED_AT - len(chosen)) // (len(smallest_first) - number)
        step = len(found) / max(1, min(share, len(found)))
        chosen += [found[int(place * step)] for place in range(min(share, len(found)))]
    return sorted(chosen, key=lambda file: file.name)


def labels_of(path: str, column: str) -> tuple[dict[str, int], int]:
    """Rows of each label, and rows without one."""
    # Labels are text whatever the content is: counting reads no content.
    table = TableSource(path=path, content=column, label=column).open()
    labels: Counter[str] = Counter()
    rows = 0
    while samples := table.read(rows, ROWS_AT_ONCE):
        rows += len(samples)
        labels.update(sample.label for sample in samples if sample.label is not None)
    if len(labels) > MANY_CLASSES and labels.total() < ROWS_OF_A_CLASS * len(labels):
        raise NoPipelineFits(
            f"Column {column!r} of {path} has {len(labels)} values in {rows} rows: name the column of the class with "
            "--label."
        )
    if not rows:
        raise NoPipelineFits(f"Table {path} has no rows: fill it, or correct --path.")
    return several(f"Column {column!r} of {path} has rows", labels), rows - labels.total()


def several(what: str, labels: Counter[str]) -> dict[str, int]:
    if len(labels) < 2:
        named = f"one class only, {next(iter(labels))!r}" if labels else "no class"
        raise NoPipelineFits(f"{what} of {named}, and a model learns to tell two or more apart: add another class.")
    return dict(sorted(labels.items()))


def _images_of(path: str, content: str, sample_id: str | None) -> tuple[str, list[SourceSample]]:
    """How the column stores images, and samples from rows spread over the tables."""
    for content_is in ("bytes", "base64", "path"):
        settings = {"path": path, "content": content, "content_is": content_is, "id": sample_id}
        source = TableSource.model_validate(settings).open()
        if content_is == "path" and not pillow_format_of(_first_file(source)):
            continue
        first = next(source.spread(1), None)
        size = len(first.content) if first else 0
        # All of them are in memory.
        samples = list(source.spread(min(LOOKED_AT, max(FEWEST, OPENED_BYTES // max(1, size)))))
        if any(pillow_format_of(sample.content) for sample in samples):
            return content_is, samples
    raise NoPipelineFits(
        f"Column {content!r} of {path} has no {' or '.join(sorted(image_codecs()))} image in rows spread over "
        "it, neither as bytes nor as base64 nor as the path of a file below the table's folder: name the column with "
        "--content."
    )


def _first_file(source: TableSource) -> bytes:
    """The content of the first row's file; empty if the cell names none, which a source in use refuses."""
    try:
        return bytes(source.read(0, 1)[0].content)
    except PermanentError:
        return b""


def contents(source: FolderSource, files: Sequence[File]) -> Iterator[tuple[str, bytes]]:
    done = 0
    while done < len(files):
        contents = source.contents(files[done:])
        for file, content in zip(files[done:], contents, strict=False):
            yield file.name, content
        done += len(contents)
