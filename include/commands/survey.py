"""A survey of a folder or a table, for a new pipeline's file; its images."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from unicodedata import normalize

from include.codecs import HEAD_BYTES, IMAGE_FILES, ImageCodec, described, image_format_of
from include.codecs.base import Codec
from include.commands.group_columns import GroupColumn
from include.commands.image_format import NoPipelineFits, counted, format_of
from include.commands.number_labels import NumberLabels
from include.given_split import side_of
from include.sources import File
from include.sources.folder import FolderSource
from include.storage.state import PROJECT_ROOT

# At most so many samples are opened; all are counted.
LOOKED_AT = 500
SHOWN_FOLDERS = 5
# The words of a folder's name, seg_train for instance.
NAME_PARTS = re.compile(r"[^A-Za-z]+")
# More endings than a person would list are no endings, but parts of names.
MAX_SUFFIXES = 20
# Fewer large images are opened: at least the first number, and more while they have fewer bytes than the second.
FEWEST, OPENED_BYTES = 8, 256 * 2**20
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
        labels: samples of each class, in order of name; none of a regression.
        labelled: samples with a label, where each may have several.
        numbers: the labels of a regression.
        unlabelled: samples without one.
        largest: bytes of the largest known sample.
        opened: how many were opened.
        unfit: the invalid ones among those, each with its reason.
        left_out: files that are not samples, by the ending of their names.
        notes: sentences on what differs among the samples.
        given_split: whether the data come divided into samples to train on and others.
        group: the column whose values are groups.
        group_hint: a column whose values may be groups, for a person to decide.
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
    group: GroupColumn | None = None
    group_hint: str | None = None
    numbers: NumberLabels | None = None
    labelled: int | None = None

    @property
    def samples(self) -> int:
        if self.numbers is not None:
            return self.numbers.samples + self.unlabelled
        return (sum(self.labels.values()) if self.labelled is None else self.labelled) + self.unlabelled

    @property
    def kinds_of_labels(self) -> str:
        """What the labels are, for a person."""
        if self.numbers is not None:
            return f"the number {self.numbers.column!r}"
        return f"{len(self.labels)} {'classes' if self.labelled is None else 'labels, several of which one may have'}"


def survey_folder(path: str) -> Survey:
    """A folder with one folder of images a class.

    Raises:
        NoPipelineFits: it is missing, or has no images, classes or sizes for one pipeline.
        SourceRefused, SourceUnreachable: see `include.sources._files`.
    """
    path = existing(path)
    source = folder_of(path)
    files = source.files()
    images = _images_among(source, files)
    folders = class_folders(path, images, "images")
    images = list(folders.files)
    endings = {suffix_of(file) for file in images}
    # Files without an ending can be chosen by none.
    suffixes = [] if "" in endings or len(endings) > MAX_SUFFIXES else sorted(endings)
    others = _other_files(files, endings)
    opened = within_bytes(spread_over_folders(images))
    found = format_of(path, contents(source, opened))
    return Survey(
        noun="image",
        source={"kind": "folder", "path": path, **folders.settings, "suffixes": suffixes},
        codec=found.codec,
        form=form_of(found.codec),
        labels=folders.labels,
        given_split=folders.given,
        largest=max(file.size for file in images),
        opened=len(opened),
        unfit=found.unfit,
        notes=(*folders.notes, *found.notes, *(_all_files(others) if not suffixes else ())),
        left_out=others if suffixes else {},
    )


def folder_of(path: str) -> FolderSource:
    """A folder's files of any kind."""
    if "://" not in path and not (PROJECT_ROOT / path).is_dir():
        raise NoPipelineFits(f"Path {path} is a file and a folder was expected: correct --path, or use --source table.")
    return FolderSource(path=path).open()


def form_of(codec: ImageCodec) -> str:
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


def _images_among(source: FolderSource, files: Sequence[File]) -> list[File]:
    """The files with the endings of images, which contents show: of each ending a few are read.

    Raises:
        NoPipelineFits: there are none.
    """
    by_ending: dict[str, list[File]] = {}
    for file in sorted(files, key=lambda file: file.name):
        by_ending.setdefault(suffix_of(file), []).append(file)
    share = max(1, LOOKED_AT // len(by_ending))
    spread = {ending: same[:: -(-len(same) // share)] for ending, same in by_ending.items()}
    looked_at = list(chain.from_iterable(spread.values()))
    heads = dict(zip(looked_at, source.heads(looked_at, HEAD_BYTES), strict=True))
    images = {ending for ending, some in spread.items() if any(image_format_of(heads[file]) for file in some)}
    if not images:
        raise NoPipelineFits(
            f"Folder {source.path} holds no image that can be read here ({', '.join(IMAGE_FILES)}); of its "
            f"{len(files)} files, which are {counted(suffix_of(file) or 'without ending' for file in files)}, "
            f"{looked_at[0].name!r} is none, {described(heads[looked_at[0]])}: correct --path, or convert them."
        )
    return [file for file in files if suffix_of(file) in images]


def _all_files(others: dict[str, int]) -> list[str]:
    if not others:
        return []
    first = next(iter(others))
    note = f"The images have no endings in common, so the file takes all files: move the {sum(others.values())} others"
    return [f"{note} away, {others[first]} of them {first}."]


def _other_files(files: Sequence[File], endings: set[str]) -> dict[str, int]:
    """How many files have none of the endings, by their own."""
    return dict(Counter(suffix_of(file) or "without ending" for file in files if suffix_of(file) not in endings))


def within_bytes(files: Sequence[File]) -> list[File]:
    """Files spread evenly over these, together of about `OPENED_BYTES`, and `FEWEST` at least."""
    count = len(files)
    if (size := sum(file.size for file in files)) > OPENED_BYTES:
        count = max(min(FEWEST, count), count * OPENED_BYTES // size)
    return [files[place * len(files) // count] for place in range(count)]


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
    if len(first) == 1 and first == deeper and not above:
        (only,) = first
        raise NoPipelineFits(
            f"Folder {path} has {noun} in the one folder {only!r} and those below it, and a class has a folder of its "
            f"own: take the folder {only!r} as --path if the classes' folders are in it."
        )
    if {side_of(name) for name in above & deeper} > {"train"}:
        others = sorted(first - above)
        raise NoPipelineFits(
            f"Folder {path} has the folders {', '.join(map(repr, sorted(above)))} of a split beside "
            f"{', '.join(map(repr, others[:SHOWN_FOLDERS]))}: move these away, or into the folder of a side."
        )
    if folders and all(len(parts) > 1 and side_of(parts[1]) for parts in folders):
        return _split_folders(path, files, noun, "below")
    named_as_sides = {name for name in first if any(map(side_of, NAME_PARTS.split(name)))}
    if len(first) > 1 and named_as_sides == first == deeper:
        raise NoPipelineFits(
            f"Folder {path} has the folders {', '.join(map(repr, sorted(first)[:SHOWN_FOLDERS]))}, whose names are of "
            "a split and not of classes: rename them to train, val or test, with the folders of the classes in them."
        )
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


def several(what: str, labels: Counter[str]) -> dict[str, int]:
    if len(labels) < 2:
        named = f"one class only, {next(iter(labels))!r}" if labels else "no class"
        raise NoPipelineFits(f"{what} of {named}, and a model learns to tell two or more apart: add another class.")
    return dict(sorted(labels.items()))


def contents(source: FolderSource, files: Sequence[File]) -> Iterator[tuple[str, bytes]]:
    done = 0
    while done < len(files):
        contents = source.contents(files[done:])
        for file, content in zip(files[done:], contents, strict=False):
            yield file.name, content
        done += len(contents)
