"""A folder with the class as folder name: what counts, in which order, and as what it is read."""

from __future__ import annotations

import os
import time
import zipfile

import fsspec
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.zip import ZipFileSystem
from pydantic import ValidationError

from include.sources import _files
from include.sources import folder as folders
from include.sources.base import SourceChanged, SourceRefused
from include.sources.folder import FolderSource
from tests.support.assertions import assert_readable
from tests.support.folders import DAY

ORDER_BY_SEED = {1: ["a/10", "b/1", "a/2", "b/ü"], 2: ["b/ü", "a/2", "b/1", "a/10"]}


def folder(place, **settings):
    return FolderSource(path=place.path, **settings)


def names(source, start=0, count=100):
    return [sample.id for sample in source.read(start, count)]


@pytest.fixture
def pets(place):
    """Two classes; the order of arrival is not that of the names."""
    place.write("dog/b.jpg", b"first", second=1)
    place.write("cat/c.jpg", b"second", second=2)
    place.write("cat/old/a.jpg", b"third", second=3)
    return place


def test_a_sample_is_a_file_as_it_is(pets):
    sample = next(sample for sample in folder(pets).read(0, 3) if sample.id == "cat/old/a.jpg")

    assert (sample.id, sample.label, sample.group, sample.content) == ("cat/old/a.jpg", "cat", None, b"third")


def test_all_files_are_counted_and_read_once(pets):
    source = folder(pets)

    assert source.count() == 3
    assert sorted(names(source)) == ["cat/c.jpg", "cat/old/a.jpg", "dog/b.jpg"]


def test_the_order_is_the_same_for_ever(place):
    """Positions in the ledger of a running pipeline depend on it."""
    for name in ("b/1", "a/2", "a/10", "b/ü"):
        place.write(name)

    assert names(folder(place)) == ORDER_BY_SEED[1]
    assert names(folder(place, seed=2)) == ORDER_BY_SEED[2]


def test_a_folder_that_is_sorted_by_class_is_sent_with_all_classes_in_every_part(place):
    for second, label in enumerate("abc"):
        for number in range(100):
            place.write(f"{label}/{number}", second=second)

    source = folder(place)

    for start in range(0, 300, 60):
        counts = [[sample.label for sample in source.read(start, 60)].count(label) for label in "abc"]
        assert min(counts) >= 8, counts


def test_a_source_can_be_read_from_any_position(pets):
    source = folder(pets)

    assert [names(source, position, 1)[0] for position in range(3)] == names(source)
    assert names(source, 1, 2) == names(source)[1:]
    assert names(source, 3) == []


def test_a_new_file_takes_the_next_position(pets):
    source = folder(pets)
    prefix = source.prefix(3)

    pets.write("cat/0.jpg", second=4)

    assert names(source.open().resume(3, prefix, 9), 3) == ["cat/0.jpg"]


def test_a_source_stays_as_it_was_opened(pets):
    source = folder(pets)
    assert source.count() == 3

    pets.write("cat/0.jpg", second=4)

    assert (source.count(), source.open().count()) == (3, 4)


@pytest.mark.parametrize(("split", "name"), [("above", "{side}/{label}/x/1.jpg"), ("below", "{label}/{side}/1.jpg")])
def test_folders_of_a_split_are_sides_and_never_classes(place, split, name):
    for side in ("Train", "validation", "TEST"):
        for label in ("cat", "dog"):
            place.write(name.format(side=side, label=label))
    place.write("loose/1.jpg", second=1)

    source = folder(place, split=split)

    assert source.count() == 6
    assert {(sample.label, sample.split) for sample in source.read(0, 9)} == {
        (label, side) for label in ("cat", "dog") for side in ("train", "val", "test")
    }


def test_a_folder_that_is_no_side_of_its_split_is_refused(place):
    place.write("train/cat/1.jpg")
    place.write("extra/dog/1.jpg")

    with pytest.raises(SourceRefused) as refusal:
        folder(place, split="above").read(0, 9)

    assert_readable(refusal.value, "'extra'", "above")


def test_a_class_of_macos_is_named_as_people_write_it(place):
    """Its folders' names are in Unicode's NFD; ids stay what the files are called."""
    place.write("cafe\u0301/1.jpg")

    sample = folder(place).read(0, 1)[0]

    assert (sample.label, sample.id) == ("caf\u00e9", "cafe\u0301/1.jpg")


def test_suffixes_choose_files(pets):
    pets.write("cat/notes.txt", second=0)
    pets.write("README", second=0)
    pets.write("cat/LARGE.JPG", second=4)

    assert folder(pets, suffixes=[".jpg"]).count() == 4


@pytest.mark.parametrize("hidden", [".DS_Store", "cat/.a.jpg.part", ".git/config"])
def test_hidden_files_and_folders_do_not_count(pets, hidden):
    pets.write(hidden)

    assert folder(pets).count() == 3


@pytest.mark.parametrize(
    ("expression", "group"), [(r"voice\d+", "voice7"), (r"(\w+)-\d", "voice7"), (r"^zero/(.*)-", "voice7")]
)
def test_a_part_of_the_path_can_be_the_group(place, expression, group):
    place.write("zero/voice7-1.wav")

    assert folder(place, group=expression).read(0, 1)[0].group == group


def test_a_name_that_looks_like_a_pattern_is_a_name(place):
    place.write("a/[1]*?.jpg", b"one")
    place.write("a/1.jpg", b"other", second=1)

    assert {sample.id: sample.content for sample in folder(place).read(0, 2)}["a/[1]*?.jpg"] == b"one"


def test_what_is_read_at_once_is_bounded(pets, monkeypatch):
    everything = names(folder(pets))
    monkeypatch.setattr(_files, "READ_BYTES", 2 * len(b"second"))
    source = folder(pets)

    assert names(source) == everything[:2]
    assert names(source, 2) == everything[2:]


def test_a_file_larger_than_the_bound_is_read_alone(pets, monkeypatch):
    monkeypatch.setattr(_files, "READ_BYTES", 1)

    assert len(names(folder(pets))) == 1


def test_files_that_changed_lately_do_not_count_yet(place):
    now = time.time() - DAY
    place.write("a/old", second=now - 60)
    place.write("b/new", second=now)
    place.write("b/in the future", second=now + 3600)

    assert (folder(place).count(), folder(place, settle_s=0).count()) == (1, 2)


def test_a_filesystem_can_be_handed_in(pets):
    filesystem, root = fsspec.url_to_fs(pets.path)
    elsewhere = FolderSource(path=root).on(filesystem)

    assert elsewhere.count() == 3
    assert sorted(names(elsewhere))[-1] == "dog/b.jpg"


def test_a_filesystem_that_fetches_many_files_at_once_can_be_handed_in(pets):
    """Those of object storages are asynchronous."""
    filesystem, root = fsspec.url_to_fs(pets.path)
    remote = AsyncFileSystemWrapper(filesystem, asynchronous=False)
    source = FolderSource(path=root).on(remote)

    assert source.count() == 3
    assert {s.id: s.content for s in source.read(0, 3)}["dog/b.jpg"] == b"first"


def test_a_filesystem_without_times_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        archive.writestr("pets/cat/1.jpg", b"one")

    with pytest.raises(SourceRefused) as refusal:
        FolderSource(path="pets").on(ZipFileSystem(f"{tmp_path}/pets.zip")).count()

    assert_readable(refusal.value, "cat/1.jpg", "modification times")


def test_an_empty_folder_is_refused(place):
    place.write("cat/notes.txt")
    place.write(".hidden/a.jpg")

    with pytest.raises(SourceRefused) as refusal:
        folder(place, suffixes=[".jpg", ".jpeg"]).count()

    assert_readable(refusal.value, place.path, ".jpg or .jpeg", "[source]")


def test_a_folder_that_does_not_exist_is_refused(place):
    source = FolderSource(path=f"{place.path}/nowhere")

    with pytest.raises(SourceRefused) as refusal:
        source.count()

    assert_readable(refusal.value, f"{place.path}/nowhere", "path", "[source]")


def test_a_file_in_no_class_is_refused(pets):
    pets.write("stray.jpg")

    with pytest.raises(SourceRefused) as refusal:
        folder(pets).count()

    assert_readable(refusal.value, "stray.jpg", pets.path, "suffixes", "[source]")


def test_one_class_alone_is_refused(place):
    place.write("cat/a.jpg")
    place.write("cat/b.jpg")

    with pytest.raises(SourceRefused) as refusal:
        folder(place).count()

    assert_readable(refusal.value, "'cat'", place.path)


def test_a_file_that_no_topic_would_take_is_refused_unread(pets, monkeypatch):
    monkeypatch.setattr(folders, "MAX_SAMPLE_BYTES", 5)

    with pytest.raises(SourceRefused) as refusal:
        folder(pets).count()

    assert_readable(refusal.value, "cat/c.jpg", "6 bytes", 5)


def test_a_file_without_its_group_is_refused(pets):
    with pytest.raises(SourceRefused) as refusal:
        folder(pets, group=r"voice\d+").read(0, 1)

    assert_readable(refusal.value, "voice", names(folder(pets))[0])


def test_a_group_that_is_no_expression_is_refused_when_the_file_is_parsed():
    with pytest.raises(ValidationError, match="not a regular expression"):
        FolderSource(path="x", group="(")


@pytest.mark.parametrize(
    "path",
    [
        "carrier-pigeon://pets",
        "zip://::{}/pets.zip",
        "github://owner:project@main/pets",
        "file://{}/pets::memory://x",
        "simplecache::memory://pets",
    ],
)
def test_only_some_schemes_of_urls_are_opened(tmp_path, path):
    path = path.format(tmp_path)

    with pytest.raises(SourceRefused) as refusal:
        FolderSource(path=path).count()

    assert_readable(refusal.value, path, "memory", "s3", "connection")


def test_a_local_path_with_colons_is_no_chain_of_urls(tmp_path):
    for label in "ab":
        (tmp_path / "x::y" / label).mkdir(parents=True)
        (tmp_path / "x::y" / label / "1.jpg").write_bytes(b"one")

    assert FolderSource(path=str(tmp_path / "x::y"), settle_s=0).count() == 2


@pytest.mark.parametrize("path", ["s3://bucket/pets", "az://bucket/pets"])
def test_a_filesystem_that_is_not_installed_is_refused(path):
    with pytest.raises(SourceRefused) as refusal:
        FolderSource(path=path).count()

    assert_readable(refusal.value, path, "[source]")


def test_a_file_that_is_gone_when_it_is_read_is_named(pets):
    source = folder(pets)
    source.count()
    pets.remove("cat/c.jpg")

    with pytest.raises(SourceChanged) as refusal:
        source.read(0, 3)

    assert_readable(refusal.value, "cat/c.jpg")


def test_a_path_that_is_not_absolute_begins_at_the_project():
    assert FolderSource(path="tests/include/sources", suffixes=[".py"]).files()


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    os.close(os.open(os.fsencode(tmp_path) + b"/cat/caf\xe9.jpg", os.O_CREAT))

    with pytest.raises(SourceRefused) as refusal:
        FolderSource(path=str(tmp_path)).count()

    assert_readable(refusal.value, "caf", "UTF-8")


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    os.mkfifo(tmp_path / "cat" / "odd")

    with pytest.raises(SourceRefused) as refusal:
        FolderSource(path=str(tmp_path)).count()

    assert_readable(refusal.value, tmp_path / "cat" / "odd")


def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(tmp_path, monkeypatch):
    """Root may read anything, so the refusal comes from the call that would make it."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"one")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)

    with pytest.raises(SourceRefused) as refusal:
        FolderSource(path=str(tmp_path)).count()

    assert_readable(refusal.value, tmp_path / "cat")
