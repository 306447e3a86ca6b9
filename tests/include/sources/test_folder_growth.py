"""Positions are for ever: what a folder may become between two batches, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from include.sources.base import SourceChanged
from include.sources.digits import DigitsSource
from include.sources.folder import FolderSource
from tests.support.assertions import assert_readable

SENT = 3


@pytest.fixture
def after_a_batch(place):
    """A folder of which the first three files were sent, and the check that the next batch begins with."""
    place.write("cat/1", second=10)
    place.write("dog/2", second=20)
    place.write("cat/3", second=30)
    place.write("dog/4", second=40)
    prefix = FolderSource(path=place.path).prefix(SENT)

    def check():
        FolderSource(path=place.path).check_prefix(SENT, prefix)

    return place, check


def test_nothing_changed(after_a_batch):
    _, check = after_a_batch

    check()


def test_files_that_come_last_are_welcome(after_a_batch):
    place, check = after_a_batch
    place.write("ant/1", second=50)
    place.write("ant/2", second=31)

    check()


def test_files_that_were_not_sent_may_change_and_go(after_a_batch):
    place, check = after_a_batch
    place.write("dog/4", b"other", second=60)
    check()

    place.remove("dog/4")
    check()


@pytest.mark.parametrize(("name", "second"), [("ant/0", 5), ("ant/0", 25), ("ant/0", 30)])
def test_a_file_that_comes_between_is_named(after_a_batch, name, second):
    place, check = after_a_batch
    place.write(name, second=second)

    with pytest.raises(SourceChanged) as refusal:
        check()

    assert_readable(refusal.value, name, place.path, f"2026-01-01 00:00:{second:02}", "touch")


def test_a_file_that_came_between_is_sent_next_when_it_was_touched(after_a_batch):
    place, check = after_a_batch
    place.write("ant/0", second=5)
    place.write("ant/0", second=70)

    check()
    assert FolderSource(path=place.path).read(4, 9)[0].id == "ant/0"


def test_a_file_that_was_sent_and_changed_is_named(after_a_batch):
    place, check = after_a_batch
    place.write("dog/2", b"other", second=80)

    with pytest.raises(SourceChanged) as refusal:
        check()

    assert_readable(refusal.value, "dog/2", place.path, "2026-01-01 00:01:20")


def test_a_file_that_was_sent_and_is_gone_is_told(after_a_batch):
    place, check = after_a_batch
    place.remove("cat/1")

    with pytest.raises(SourceChanged) as refusal:
        check()

    assert_readable(refusal.value, "2 files", "3 that were sent", place.path)


def test_many_files_that_come_between_are_told(after_a_batch):
    place, check = after_a_batch
    for number in range(5):
        place.write(f"ant/{number}", second=number)

    with pytest.raises(SourceChanged) as refusal:
        check()

    assert_readable(refusal.value, "8 files", "3 that were sent", "touch")


def test_a_file_in_another_s_stead_is_told(after_a_batch):
    place, check = after_a_batch
    place.remove("cat/1")
    place.write("cat/one", second=10)

    with pytest.raises(SourceChanged):
        check()


def test_files_that_were_sent_may_change_places(after_a_batch):
    """Their batches are done or have a fingerprint of their own; what comes next is what matters here."""
    place, check = after_a_batch
    place.write("cat/1", second=25)

    check()


def test_a_pipeline_can_not_go_on_with_another_source(after_a_batch):
    place, _ = after_a_batch
    source = FolderSource(path=place.path)

    for other, prefix in ((source, DigitsSource().prefix(SENT)), (DigitsSource(), source.prefix(SENT))):
        with pytest.raises(SourceChanged) as refusal:
            other.check_prefix(SENT, prefix)
        assert_readable(refusal.value, "first 3 samples", "[source]")


def test_a_first_batch_has_nothing_to_compare(place):
    FolderSource(path=place.path).check_prefix(0, {})


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_nothing_is_lost_or_doubled_unseen(place, seed):
    """Files come with any time, change and go; each batch is either refused or takes what no batch has taken."""
    chance = np.random.default_rng(seed)
    sent: list[str] = []
    prefix: dict[str, object] = {}
    present: dict[str, float] = {}
    for step in range(30):
        event = chance.random()
        if event < 0.8 or not present:
            name = f"{chance.choice(['a', 'b'])}/{step}"
            present[name] = step * 10 if chance.random() < 0.9 else chance.random() * 300
            place.write(name, second=present[name])
        elif event < 0.9:
            name = str(chance.choice(sorted(present)))
            present[name] = step * 10
            place.write(name, second=present[name])
        else:
            name = str(chance.choice(sorted(present)))
            del present[name]
            place.remove(name)
        if not present:
            continue
        source = FolderSource(path=place.path)
        try:
            source.check_prefix(len(sent), prefix)
        except SourceChanged as refusal:
            assert_readable(refusal, place.path)
            return
        taken = [sample.id for sample in source.read(len(sent), int(chance.integers(3)))]
        assert not set(taken) & set(sent), "sent twice"
        sent += taken
        assert set(sent) <= set(present)
        waiting = [file.name for file in source.files()[len(sent) :]]
        assert sorted(sent + waiting) == sorted(present), "lost"
        prefix = source.prefix(len(sent))
