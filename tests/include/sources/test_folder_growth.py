"""Positions are for ever: what a folder may become between two batches, and what is refused."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pytest

from include.sources._listing import File
from include.sources._sent_files import step_of
from include.sources.base import SourceChanged
from include.sources.digits import DigitsSource
from include.sources.folder import FolderSource
from tests.support.assertions import assert_readable
from tests.support.folders import DAY

SENT = 3


@pytest.fixture
def after_a_batch(place):
    """A folder of which the first three files were sent, another that came since, and the check of the next batch."""
    place.write("cat/1", second=10)
    place.write("dog/2", second=20)
    place.write("cat/3", second=30)
    prefix = FolderSource(path=place.path).prefix(SENT)
    place.write("dog/4", second=40)

    def check():
        FolderSource(path=place.path).check_prefix(SENT, prefix)

    return place, check, prefix


def places(prefix, where):
    """A name of a new file whose place, if it were as old as those sent, is before or after the last one that was."""
    step, last = step_of(prefix), prefix["last"]
    names = (f"ant/{number}" for number in range(100))
    return next(name for name in names if step.reaches(File(1.0, name, 1), last) == (where == "before"))


def test_nothing_changed(after_a_batch):
    _, check, _ = after_a_batch

    check()


def test_files_that_come_last_are_welcome(after_a_batch):
    place, check, _ = after_a_batch
    place.write("ant/1", second=50)
    place.write("ant/2", second=31)

    check()


def test_files_that_were_not_sent_may_change_and_go(after_a_batch):
    place, check, _ = after_a_batch
    place.write("dog/4", b"other", second=60)
    check()

    place.remove("dog/4")
    check()


@pytest.mark.parametrize("second", [5, 25, 29])
def test_a_file_that_comes_between_is_named(after_a_batch, second):
    place, check, prefix = after_a_batch
    name = places(prefix, "before")
    place.write(name, second=second)

    with pytest.raises(SourceChanged) as refusal:
        check()

    assert_readable(refusal.value, name, place.path, f"2026-01-01 00:00:{second:02}", "touch")


def test_an_old_file_that_comes_behind_those_sent_is_sent_next(after_a_batch):
    place, check, prefix = after_a_batch
    name = places(prefix, "after")
    place.write(name, second=5)

    check()
    source = FolderSource(path=place.path).resume(SENT, prefix, 9)
    assert [sample.id for sample in source.read(SENT, 9)] == [name]


def test_a_file_that_came_between_is_sent_when_it_was_touched(after_a_batch):
    place, check, prefix = after_a_batch
    name = places(prefix, "before")
    place.write(name, second=5)
    place.write(name, second=70)

    check()
    source = FolderSource(path=place.path).resume(SENT, prefix, 9)
    assert {sample.id for sample in source.read(SENT, 9)} == {name, "dog/4"}


def test_a_file_that_was_sent_and_changed_is_named(after_a_batch):
    place, check, _ = after_a_batch
    place.write("dog/2", b"other", second=80)

    with pytest.raises(SourceChanged) as refusal:
        check()

    assert_readable(refusal.value, "dog/2", place.path, "2026-01-01 00:01:20")


def test_a_file_that_was_sent_and_is_gone_is_refused(after_a_batch):
    place, check, _ = after_a_batch
    place.remove("cat/1")

    with pytest.raises(SourceChanged) as refusal:
        check()

    assert_readable(refusal.value, "2 files", "3 that were sent", place.path)


def test_many_files_that_come_between_are_refused(after_a_batch):
    place, check, _ = after_a_batch
    for number in range(20):
        place.write(f"ant/{number}", second=number)

    with pytest.raises(SourceChanged) as refusal:
        check()

    assert_readable(refusal.value, "files", "3 that were sent", "touch")


def test_a_file_in_place_of_another_is_refused(after_a_batch):
    place, check, prefix = after_a_batch
    place.remove("cat/1")
    place.write(places(prefix, "before"), second=10)

    with pytest.raises(SourceChanged):
        check()


def test_files_that_were_sent_may_change_places(after_a_batch):
    """Their batches are done or have a fingerprint of their own; what comes next is what matters here."""
    place, check, _ = after_a_batch
    place.write("cat/1", second=25)

    check()


def test_a_pipeline_can_not_go_on_with_another_source(after_a_batch):
    place, _, _ = after_a_batch
    source = FolderSource(path=place.path)

    for other, prefix in ((source, DigitsSource().prefix(SENT)), (DigitsSource(), source.prefix(SENT))):
        with pytest.raises(SourceChanged) as refusal:
            other.check_prefix(SENT, prefix)
        assert_readable(refusal.value, "first 3 samples", "[source]")


def test_a_first_batch_has_nothing_to_compare(place):
    FolderSource(path=place.path).check_prefix(0, {})


def test_a_pipeline_that_began_in_the_order_of_arrival_goes_on_behind_what_it_sent(place):
    """Its ledger has no step; the positions in it mean what they meant."""
    for number in range(40):
        place.write(f"{'ab'[number // 20]}/{number:02}", second=number)
    sent = [blake2b(f"a/{number:02}".encode(), digest_size=16).digest() for number in range(10)]
    entry = {"hashes": f"{sum(map(int.from_bytes, sent)) % 2**128:032x}", "changed": DAY + 9, "name": "a/09"}
    source = FolderSource(path=place.path)

    again = source.again(5, 5, entry)
    assert [sample.id for sample in again.read(5, 5)] == [f"a/{number:02}" for number in range(5, 10)]

    resumed = source.resume(10, entry, 10)
    following = [sample.id for sample in resumed.read(10, 30)]
    assert sorted(following) == [f"{'ab'[number // 20]}/{number:02}" for number in range(10, 40)]
    assert {name[0] for name in following[:10]} == {"a", "b"}
    assert resumed.again(10, 10, resumed.prefix(20)).read(10, 30) == resumed.read(10, 30)


def test_a_step_ends_before_new_files_begin(place):
    """So that a few numbers in the ledger say what was sent."""
    for number in range(6):
        place.write(f"a/{number}", second=number)
    source = FolderSource(path=place.path)
    prefix = source.prefix(4)
    place.write("b/new", second=10)

    resumed = source.open().resume(4, prefix, 9)
    assert len(resumed.sequence()) == 6, "what is left of the first step"
    following = source.open().resume(6, resumed.prefix(6), 9)
    assert [sample.id for sample in following.read(6, 9)] == ["b/new"]


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
        try:
            source = FolderSource(path=place.path).resume(len(sent), prefix, 9)
        except SourceChanged as refusal:
            assert_readable(refusal, place.path)
            return
        taken = [sample.id for sample in source.read(len(sent), int(chance.integers(3)))]
        if not taken:
            continue
        assert not set(taken) & set(sent), "sent twice"
        sent += taken
        assert set(sent) <= set(present)
        prefix = source.prefix(len(sent))
        again = FolderSource(path=place.path).again(len(sent) - len(taken), len(taken), prefix)
        assert [sample.id for sample in again.read(len(sent) - len(taken), len(taken))] == taken
    try:
        while taken := (source := FolderSource(path=place.path).resume(len(sent), prefix, 9)).read(len(sent), 9):
            sent += [sample.id for sample in taken]
            prefix = source.prefix(len(sent))
    except SourceChanged as refusal:
        assert_readable(refusal, place.path)
    else:
        assert sorted(sent) == sorted(present), "lost"
