"""Every sample once an epoch, in an order that manifest, seed and epoch decide and nothing else does."""

from __future__ import annotations

import threading
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
from pydantic import TypeAdapter

from include.codecs.png import PngCodec
from include.codecs.raw import RawCodec
from include.feed.feed import Feed, WrongState
from include.feed.manifest import Manifest
from include.feed.split import Split
from include.kafka.errors import BrokerUnavailable, RangeUnavailable, TopicRecreated
from include.kafka.ranges import freeze_ranges
from tests.support.administrator import delete_records, recreate_topic
from tests.support.assertions import assert_readable
from tests.support.producers import Record, open_transaction, produce, produce_in

LABELS = ("a", "b", "c")
CODEC = RawCodec(shape=(2,), dtype="int32")
SAMPLES = 7500
PARTITIONS = 3
BATCH = 100
WINDOW = 1000  # with blocks of 1,024 offsets, so that windows and blocks cross
SEEDS = [1, 2, 3]


def record(number, **changed):
    """Sample `number`: it is its own content, and its label is its remainder."""
    headers = {"schema": CODEC.schema_name, "label": LABELS[number % 3], **changed.pop("headers", {})}
    plain = Record(
        key=f"sample-{number}".encode(),
        value=CODEC.encode(np.array([number, -number], np.int32)),
        headers=[(name, content.encode()) for name, content in headers.items() if content is not None],
    )
    return replace(plain, **changed)


def manifest_of(kafka, topic, *, seed=1, held_out=0.2, salt="salt"):
    return Manifest(
        pipeline=topic,
        ranges=tuple(freeze_ranges(kafka, topic)),
        schema=CODEC.schema_name,
        labels=LABELS,
        split=Split(salt, held_out),
        seed=seed,
    )


@pytest.fixture(scope="module")
def topic(kafka, new_topic):
    """`SAMPLES` samples over three partitions, in transactions; every other one was aborted."""
    topic = new_topic(partitions=PARTITIONS)
    with open_transaction(kafka, topic) as producer:
        for start in range(0, SAMPLES, 500):
            if start:
                producer.begin_transaction()
            numbers = range(start, start + 500)
            for partition in range(PARTITIONS):
                mine = [record(number) for number in numbers if number % 7 % PARTITIONS == partition]
                produce_in(producer, topic, mine, partition=partition)
            producer.commit_transaction(10)
            producer.begin_transaction()
            produce_in(producer, topic, [record(SAMPLES + start)] * 20, partition=start // 500 % PARTITIONS)
            producer.abort_transaction(10)
    return topic


@pytest.fixture(scope="module")
def manifest(kafka, topic):
    return manifest_of(kafka, topic)


@pytest.fixture
def small(kafka, new_topic):
    """Makes a manifest over a topic of the given records."""

    def make(records, **settings):
        topic = new_topic()
        produce(kafka, topic, records)
        return manifest_of(kafka, topic, **settings)

    return make


@pytest.fixture(scope="module", params=["columns", "messages"], autouse=True)
def records_as(request):
    """Every test reads records either way; the test of `Columns` says that there are any."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "messages":
            patch.setattr("include.kafka.columns._library", lambda: None)
        yield request.param


def make_feed(kafka, manifest, **settings):
    return Feed(kafka, manifest, CODEC, **{"batch_size": BATCH, "window": WINDOW, **settings})


def batches_of(feed):
    """The numbers of each batch that is left in the epoch; inputs and labels are checked on the way."""
    batches = []
    for inputs, labels in feed:
        assert (str(inputs.dtype), str(labels.dtype)) == ("torch.float32", "torch.int64")
        assert tuple(inputs.shape) == (len(labels), 2)
        numbers = inputs[:, 0].long()
        assert (inputs[:, 1].long() == -numbers).all()
        assert (numbers % 3 == labels).all()
        batches.append(numbers.tolist())
    return batches


def flat(batches):
    return [number for batch in batches for number in batch]


def test_records_that_are_taken_fewer_at_a_time_for_their_size_make_the_same_batches(kafka, manifest, monkeypatch):
    usual = batches_of(make_feed(kafka, manifest))
    monkeypatch.setattr("include.feed.side.SELECT_BYTES", 1)
    assert batches_of(make_feed(kafka, manifest)) == usual


@pytest.fixture(scope="module")
def epoch(kafka, manifest):
    """The first epoch's batches, read once."""
    return batches_of(make_feed(kafka, manifest))


def test_a_given_split_goes_by_the_header_and_a_record_without_a_side_is_refused_once(kafka, small):
    sides = ["train", "Validation", "test", "training", None, "somewhere"]
    records = [record(number, headers={"split": side}) for number, side in enumerate(sides)]
    manifest = small(records)
    given = replace(manifest, split=replace(manifest.split, given=True))

    trained, held_out = make_feed(kafka, given), make_feed(kafka, given, side="held_out")

    assert sorted(flat(batches_of(trained))) == [0, 3]
    assert sorted(flat(batches_of(held_out))) == [1, 2]
    assert (trained.report.refused, held_out.report.refused) == ({"no-split": 2}, {})


def test_every_sample_comes_exactly_once(kafka, manifest, epoch):
    held_out = batches_of(make_feed(kafka, manifest, side="held_out"))

    assert sorted(flat(epoch) + flat(held_out)) == list(range(SAMPLES))


def test_batches_are_full_up_to_the_last(epoch):
    assert {len(batch) for batch in epoch[:-1]} == {BATCH}
    assert 0 < len(epoch[-1]) <= BATCH


def test_the_same_manifest_gives_the_same_batches(kafka, manifest, epoch):
    assert batches_of(make_feed(kafka, TypeAdapter(Manifest).validate_python(manifest.to_dict()))) == epoch


def test_batches_mix_what_lay_far_apart(epoch):
    """A batch of neighbours would have a spread of `BATCH`; a window of four blocks has a good part of the log."""
    spreads = [max(batch) - min(batch) for batch in epoch]

    assert np.mean(spreads) > SAMPLES / 5


def test_another_epoch_has_the_same_samples_in_another_order(kafka, manifest, epoch):
    feed = make_feed(kafka, manifest)
    first, second = batches_of(feed), batches_of(feed)

    assert first == epoch
    assert first != second
    assert sorted(flat(first)) == sorted(flat(second))
    assert feed.epoch == 2


def test_another_epoch_brings_others_together(kafka, manifest):
    """Were the blocks read in the same order, the same samples would share a window for ever."""
    feed = make_feed(kafka, manifest)
    in_window = WINDOW // BATCH

    windows = [set(flat(batches_of(feed)[:in_window])) for _ in range(2)]

    assert len(windows[0] & windows[1]) < 0.9 * WINDOW


def test_a_window_that_holds_everything_is_shuffled_anew_as_well(kafka, small):
    feed = make_feed(kafka, small([record(number) for number in range(200)]))
    first, second = flat(batches_of(feed)), flat(batches_of(feed))

    assert first != sorted(first)
    assert first != second
    assert sorted(first) == sorted(second)


def test_another_seed_has_the_same_samples_in_another_order(kafka, manifest, epoch):
    other = batches_of(make_feed(kafka, replace(manifest, seed=2)))

    assert other != epoch
    assert sorted(flat(other)) == sorted(flat(epoch))


@pytest.mark.parametrize(("window", "batch_size"), [(1, 64), (350, 100), (10_000, 1000)])
def test_the_samples_do_not_depend_on_the_window(kafka, manifest, epoch, window, batch_size):
    other = batches_of(make_feed(kafka, manifest, window=window, batch_size=batch_size))

    assert sorted(flat(other)) == sorted(flat(epoch))


def test_without_shuffling_the_order_is_the_log_s(kafka, manifest):
    numbers = flat(batches_of(make_feed(kafka, manifest, shuffle=False)))

    partitions = [number % 7 % PARTITIONS for number in numbers]
    assert partitions == sorted(partitions)
    for partition in range(PARTITIONS):
        in_partition = [number for number in numbers if number % 7 % PARTITIONS == partition]
        assert in_partition == sorted(in_partition)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_batches_of_one(kafka, manifest, epoch, world_size):
    ranks = [batches_of(make_feed(kafka, manifest, rank=rank, world_size=world_size)) for rank in range(world_size)]

    assert {len(batches) for batches in ranks} == {len(epoch)}
    for number, whole in enumerate(epoch):
        for rank, batches in enumerate(ranks):
            assert batches[number] == whole[rank::world_size]


@pytest.mark.parametrize("seed", SEEDS, ids="seed {}".format)
def test_a_feed_goes_on_where_another_stopped(kafka, manifest, seed):
    """At the first batch and the last, at both sides of a window's end, and wherever chance says."""
    manifest = replace(manifest, seed=seed)
    feed = make_feed(kafka, manifest)
    whole, states = [], []
    for inputs, _ in feed:
        whole.append(inputs[:, 0].long().tolist())
        states.append(feed.state_dict())
    in_window = WINDOW // BATCH
    chosen = {0, in_window - 1, in_window, len(whole) - 2, len(whole) - 1}
    chosen |= set(np.random.default_rng(seed).integers(0, len(whole), 2).tolist())

    for stopped in sorted(chosen):
        resumed = make_feed(kafka, manifest)
        resumed.load_state_dict(states[stopped])
        assert batches_of(resumed) == whole[stopped + 1 :], f"stopped after batch {stopped}"


def test_a_feed_goes_on_into_the_epoch_after(kafka, manifest):
    feed = make_feed(kafka, manifest)
    states = [feed.state_dict() for _ in feed]
    second = batches_of(feed)
    resumed = make_feed(kafka, manifest)
    resumed.load_state_dict(states[-2])

    assert len(batches_of(resumed)) == 1
    assert batches_of(resumed) == second


def test_a_feed_goes_on_between_two_epochs(kafka, manifest):
    feed = make_feed(kafka, manifest)
    batches_of(feed)
    state = feed.state_dict()
    second = batches_of(feed)
    resumed = make_feed(kafka, manifest)
    resumed.load_state_dict(state)

    assert state["epoch"] == 1
    assert batches_of(resumed) == second


def test_other_ranks_go_on_where_one_stopped(kafka, manifest, epoch):
    feed = make_feed(kafka, manifest)
    batches = iter(feed)
    for _ in range(15):
        next(batches)
    batches.close()

    ranks = [make_feed(kafka, manifest, rank=rank, world_size=2) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(feed.state_dict())

    left, right = (batches_of(rank) for rank in ranks)
    assert [sorted(pair[0] + pair[1]) for pair in zip(left, right, strict=True)] == [sorted(b) for b in epoch[15:]]


@pytest.mark.parametrize(
    "settings", [{"batch_size": 50}, {"window": 2000}, {"manifest": True}], ids=["batch size", "window", "manifest"]
)
def test_a_state_of_other_settings_is_refused(kafka, manifest, settings):
    settings = dict(settings)
    state = make_feed(kafka, manifest).state_dict()
    other = replace(manifest, seed=99) if settings.pop("manifest", None) else manifest

    with pytest.raises(WrongState) as refusal:
        make_feed(kafka, other, **settings).load_state_dict(state)

    assert_readable(refusal.value, "new run")


def test_a_rank_that_there_is_not_is_refused(kafka, manifest):
    with pytest.raises(ValueError, match="rank 2 is not below world size 2"):
        make_feed(kafka, manifest, rank=2, world_size=2)


def test_the_sides_have_the_shares_asked_for(kafka, manifest, epoch):
    assert len(flat(epoch)) / SAMPLES == pytest.approx(1 - manifest.split.held_out, abs=0.02)


def test_a_group_stays_on_one_side(kafka, small):
    """Twenty takes of each of fifty voices: a voice is learnt from or held out, never both."""
    manifest = small([record(number, headers={"group": f"voice-{number % 50}"}) for number in range(1000)])

    sides = [
        {number % 50 for number in flat(batches_of(make_feed(kafka, manifest, side=side)))}
        for side in ("train", "held_out")
    ]

    assert sides[0] | sides[1] == set(range(50))
    assert sides[0] & sides[1] == set()
    assert all(sides)


def test_a_record_without_a_key_is_a_group_of_its_own(kafka, small):
    manifest = small([record(number, key=None) for number in range(500)], held_out=0.5)

    sides = [set(flat(batches_of(make_feed(kafka, manifest, side=side)))) for side in ("train", "held_out")]

    assert sides[0] | sides[1] == set(range(500))
    assert len(sides[0]) == pytest.approx(250, abs=50)


def test_samples_are_counted_by_label(kafka, manifest, epoch):
    feed = make_feed(kafka, manifest)
    batches_of(feed)

    numbers = np.array(flat(epoch))
    assert feed.report.samples == {label: int((numbers % 3 == index).sum()) for index, label in enumerate(LABELS)}
    assert not feed.report.refused
    assert feed.report.examples == []


REFUSED = {
    "no-schema": {"headers": {"schema": None}},
    "wrong-schema": {"headers": {"schema": "image.png/1"}},
    "no-label": {"headers": {"label": None}},
    "unknown-label": {"headers": {"label": "z"}},
    "header-too-long": {"headers": {"label": "z" * 1025}},
    "wrong-size": {"value": b"123"},
    "empty": {"value": None},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_record_that_is_no_sample_is_counted_with_its_address(kafka, small, reason):
    records = [record(number) for number in range(40)]
    records[17] = record(17, **REFUSED[reason])
    manifest = small(records)
    feeds = [make_feed(kafka, manifest, side=side) for side in ("train", "held_out")]

    numbers = [number for feed in feeds for number in flat(batches_of(feed))]

    assert sorted(numbers) == [number for number in range(40) if number != 17]
    assert feeds[0].report.refused + feeds[1].report.refused == {reason: 1}
    (example,) = feeds[0].report.examples + feeds[1].report.examples
    assert example.startswith(f"{manifest.ranges[0].topic}/0/17: {reason}: ")


@pytest.mark.parametrize("codec", [CODEC, PngCodec(height=1, width=2)], ids=["array", "image"])
def test_each_sample_has_its_address_and_group_where_they_are_wanted(kafka, small, codec):
    """Also where others of the batch are refused."""
    contents = [np.array([number, 0], np.uint8 if codec is not CODEC else np.int32) for number in range(100)]
    values = [codec.encode(content.reshape(codec.sample_shape)) for content in contents]
    values[17] = values[31] = b"damaged"
    records = [
        record(number, value=value, headers={"schema": codec.schema_name, "group": f"of {number % 50}"})
        for number, value in enumerate(values)
    ]
    manifest = replace(small(records), schema=codec.schema_name)
    feed = Feed(kafka, manifest, codec, batch_size=16, window=64, addressed=True)

    found = {}
    for inputs, _ in feed.for_device():
        assert len(feed.addresses) == len(inputs)
        assert [*feed.groups] == [crc32(f"of {address.offset % 50}".encode()) for address in feed.addresses]
        found |= {
            address.offset: int(pixels.flatten()[0]) for address, pixels in zip(feed.addresses, inputs, strict=True)
        }

    assert len(found) == feed.report.total > 50
    assert all(offset == number for offset, number in found.items())
    assert not {17, 31} & found.keys()


def test_only_the_first_few_refusals_are_kept_in_words(kafka, small):
    feed = make_feed(kafka, small([record(number, value=b"123") for number in range(100)]))

    batches_of(feed)

    assert feed.report.refused["wrong-size"] > 50
    assert len(feed.report.examples) == 5


def test_a_topic_without_records_gives_no_batches(kafka, small):
    assert batches_of(make_feed(kafka, small([]))) == []


@pytest.fixture
def feed_threads():
    return lambda: [thread for thread in threading.enumerate() if thread.name == "feed-reader"]


def test_leaving_early_leaves_no_thread(kafka, manifest, feed_threads):
    for _ in make_feed(kafka, manifest, batch_size=10):
        assert len(feed_threads()) == 1
        break

    assert feed_threads() == []


def test_an_error_while_a_batch_is_used_leaves_no_thread(kafka, manifest, feed_threads):
    def train():
        for _ in make_feed(kafka, manifest, batch_size=10):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()

    assert feed_threads() == []


def test_an_epoch_s_end_leaves_no_thread(kafka, small, feed_threads):
    batches_of(make_feed(kafka, small([record(number) for number in range(10)])))

    assert feed_threads() == []


def test_an_error_in_the_reading_thread_reaches_who_iterates(kafka, manifest, monkeypatch, feed_threads):
    to_inputs = RawCodec.to_inputs
    calls = []

    def failing(codec, samples):
        calls.append(len(samples))
        if len(calls) == 5:
            raise ZeroDivisionError
        return to_inputs(codec, samples)

    monkeypatch.setattr(RawCodec, "to_inputs", failing)
    served = []

    with pytest.raises(ZeroDivisionError):
        served.extend(make_feed(kafka, manifest))

    assert len(served) == 4
    assert feed_threads() == []


def test_images_are_fed_as_arrays_are(kafka, small):
    """A codec that unpacks, where a raw one copies: another way through the window."""
    codec = PngCodec(height=2, width=3)
    images = np.random.default_rng(0).integers(0, 256, (300, 1, 2, 3), np.uint8)
    records = [
        record(number, value=codec.encode(image), headers={"schema": codec.schema_name})
        for number, image in enumerate(images)
    ]
    records[17] = replace(records[17], value=records[17].value[:-1])
    manifest = replace(small(records), schema=codec.schema_name)
    feeds = [Feed(kafka, manifest, codec, batch_size=16, window=64, side=side) for side in ("train", "held_out")]

    fed = [
        ((image.numpy() * 255).round().astype(np.uint8).tobytes(), int(label))
        for feed in feeds
        for inputs, labels in feed
        for image, label in zip(inputs, labels, strict=True)
    ]

    assert sorted(fed) == sorted((image.tobytes(), n % 3) for n, image in enumerate(images) if n != 17)
    assert feeds[0].report.refused + feeds[1].report.refused == {"undecodable": 1}


def test_a_recreated_topic_is_refused(kafka, small):
    manifest = small([record(number) for number in range(10)])
    recreate_topic(kafka, manifest.ranges[0].topic)

    with pytest.raises(TopicRecreated):
        batches_of(make_feed(kafka, manifest))


def test_a_topic_that_retention_has_cut_is_refused(kafka, small):
    manifest = small([record(number) for number in range(10)])
    delete_records(kafka, manifest.ranges[0].topic, 3)

    with pytest.raises(RangeUnavailable):
        batches_of(make_feed(kafka, manifest))


def test_without_a_broker_the_feed_says_so(no_broker, manifest, feed_threads):
    with pytest.raises(BrokerUnavailable):
        batches_of(make_feed(no_broker, manifest))

    assert feed_threads() == []
