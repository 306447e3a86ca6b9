"""Symbolic links: those out of the folder, loops and links to nothing are left out and counted."""

from __future__ import annotations

import logging
import os

import pytest
from typer.testing import CliRunner

from include.__main__ import app
from include.sources.base import SourceChanged, SourceRefused
from include.sources.folder import FolderSource
from include.sources.table import TableSource
from tests.support.assertions import assert_readable
from tests.support.corpus import saved, slope
from tests.support.folders import DAY, LocalFolder
from tests.support.tables import table


@pytest.fixture
def place(tmp_path):
    """A folder of two classes, and another one beside it."""
    place = LocalFolder(tmp_path / "pets")
    place.write("cat/1.jpg", b"cat")
    place.write("dog/1.jpg", b"dog")
    LocalFolder(tmp_path / "data").write("secret.jpg", b"secret")
    return place


def names(source):
    return sorted(file.name for file in source.files())


def ids(place, **settings):
    return names(FolderSource(path=place.path, settle_s=0, **settings))


OUT = {
    "a file": ("cat/link.jpg", "data/secret.jpg", "cat/link.jpg"),
    "a folder": ("bird", "data", "bird/secret.jpg"),
    "a relative path": ("cat/link.jpg", "../../data/secret.jpg", "cat/link.jpg"),
    "a folder of a longer name": ("bird", "pets2", "bird/secret.jpg"),
}


@pytest.mark.parametrize(("link", "target", "name"), OUT.values(), ids=OUT)
def test_a_link_out_of_the_folder_is_followed_only_if_asked(place, tmp_path, caplog, link, target, name):
    LocalFolder(tmp_path / "pets2").write("secret.jpg", b"secret")
    (place.folder / link).symlink_to(target if target.startswith("..") else tmp_path / target)

    with caplog.at_level(logging.WARNING):
        assert ids(place) == ["cat/1.jpg", "dog/1.jpg"]

    (said,) = caplog.messages
    for expected in (place.path, link, "out of the folder", "follow_links = true"):
        assert expected in said
    assert ids(place, follow_links=True) == sorted(["cat/1.jpg", "dog/1.jpg", name])


def test_a_link_to_a_link_out_of_the_folder_leads_out_too(place, tmp_path):
    (place.folder / "cat" / "a.jpg").symlink_to("b.jpg")
    (place.folder / "cat" / "b.jpg").symlink_to(tmp_path / "data" / "secret.jpg")

    assert ids(place) == ["cat/1.jpg", "dog/1.jpg"]


def test_links_within_the_folder_are_followed(place):
    (place.folder / "cat" / "2.jpg").symlink_to("1.jpg")
    (place.folder / "kitten").symlink_to("cat")
    os.utime(place.folder / "cat" / "2.jpg", (DAY + 9, DAY + 9), follow_symlinks=False)
    source = FolderSource(path=place.path)

    assert names(source) == ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "kitten/1.jpg", "kitten/2.jpg"]
    assert {file.changed for file in source.files()} == {DAY}, "the file's time and not the link's"


def test_a_folder_that_is_a_link_itself_is_what_it_leads_to(place, tmp_path):
    (tmp_path / "linked").symlink_to(place.folder)
    (place.folder / "cat" / "2.jpg").symlink_to(tmp_path / "linked" / "cat" / "1.jpg")

    assert names(FolderSource(path=str(tmp_path / "linked"))) == ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"]


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("target", [".", "..", "../cat", "../dog", "../..", "loop"])
def test_loops_are_left_out(place, caplog, target, follow):
    """Two folders whose links lead to each other are one, too."""
    (place.folder / "cat" / "loop").symlink_to(target)
    (place.folder / "dog" / "loop").symlink_to("../cat")

    with caplog.at_level(logging.WARNING):
        found = ids(place, follow_links=follow)

    assert {"cat/1.jpg", "dog/1.jpg", "dog/loop/1.jpg"} <= set(found)
    assert len(found) < 10
    assert "Links are left out" in caplog.text


def test_links_to_nothing_are_left_out_and_counted(place, caplog):
    for number in range(3):
        (place.folder / "cat" / f"annexed{number}.jpg").symlink_to("/nowhere/annexed.jpg")
    (place.folder / "cat" / ".#lock").symlink_to("somebody@somewhere:1")

    with caplog.at_level(logging.WARNING):
        assert ids(place) == ["cat/1.jpg", "dog/1.jpg"]

    (said,) = caplog.messages
    assert f"3 links in {place.path}, 'cat/annexed0.jpg' the first, lead to nothing" in said


def test_a_folder_of_nothing_but_links_out_of_it_is_refused_with_the_setting(tmp_path):
    LocalFolder(tmp_path / "data").write("1.jpg")
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    (tmp_path / "pets" / "cat" / "1.jpg").symlink_to(tmp_path / "data" / "1.jpg")

    with pytest.raises(SourceRefused) as refusal:
        ids(LocalFolder(tmp_path / "pets"))

    assert_readable(refusal.value, "the link 'cat/1.jpg'", "follow_links = true")


def test_a_source_whose_links_were_followed_is_refused_with_the_setting(place, tmp_path):
    (place.folder / "bird").symlink_to(tmp_path / "data")
    before = FolderSource(path=place.path, follow_links=True)
    prefix = before.prefix(3)

    with pytest.raises(SourceChanged) as refusal:
        FolderSource(path=place.path).check_prefix(3, prefix)

    assert_readable(refusal.value, "'bird'", "follow_links = true")


@pytest.mark.parametrize("link", ["cat/1.jpg", "cat"])
def test_what_has_become_a_link_since_it_was_listed_is_not_read(place, tmp_path, link):
    source = FolderSource(path=place.path, settle_s=0)
    assert source.count() == 2
    LocalFolder(tmp_path / "data").write("1.jpg", b"secret")
    place.remove("cat/1.jpg")
    if link == "cat":
        (place.folder / link).rmdir()
    (place.folder / link).symlink_to(tmp_path / "data" / ("1.jpg" if "/" in link else ""))

    with pytest.raises(SourceChanged) as refusal:
        source.read(0, 2)

    assert_readable(refusal.value, place.folder / link, "follow_links = true")


def test_new_pipeline_says_which_links_it_leaves_out(place, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    for label in ("cat", "dog"):
        place.write(f"{label}/1.jpg", saved(slope("L", 8, 8), "PNG"))
    (place.folder / "cat" / "loop").symlink_to("..")
    (place.folder / "cat" / "broken.png").symlink_to("/nowhere/annexed.png")
    (place.folder / "bird").symlink_to(tmp_path / "data")

    made = CliRunner().invoke(app, ["new-pipeline", "pets", "--path", place.path])

    assert made.exit_code == 0, made.output
    for expected in ("'bird'", "follow_links = true", "'cat/loop'", "'cat/broken.png'"):
        assert expected in caplog.text, "the log of a command is its standard error"


@pytest.mark.parametrize("link", ["pictures/link.jpg", "pictures/out/secret.jpg"])
def test_a_path_in_a_table_follows_no_link_out_of_the_folder(place, tmp_path, link):
    (place.folder / "pictures").mkdir()
    (place.folder / "pictures" / "link.jpg").symlink_to(tmp_path / "data" / "secret.jpg")
    (place.folder / "pictures" / "out").symlink_to(tmp_path / "data")
    (place.folder / "pictures" / "in.jpg").symlink_to("../cat/1.jpg")
    place.write("t.csv", table("csv", [{"file": link}, {"file": "pictures/in.jpg"}]))
    settings = {"path": f"{place.path}/t.csv", "content": "file", "content_is": "path", "settle_s": 0}

    left_out, within = TableSource(**settings).read(0, 2)

    assert left_out.fault is not None
    assert_readable(ValueError(left_out.fault), link, "follow_links = true")
    assert within.content == b"cat"
    assert TableSource(**settings, follow_links=True).read(0, 1)[0].content == b"secret"


def test_a_path_in_a_table_that_is_no_file_is_left_out_unread(place):
    """Reading a pipe would wait for its writer without end."""
    os.mkfifo(place.folder / "pipe")
    place.write("t.csv", table("csv", [{"file": "pipe"}, {"file": "cat"}, {"file": "cat/1.jpg"}]))

    samples = TableSource(path=f"{place.path}/t.csv", content="file", content_is="path", settle_s=0).read(0, 3)

    assert [bool(sample.fault) for sample in samples] == [True, True, False]
