"""The ledger in hostile hands: only a key's newest entry counts, in its own form, and signed where records are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from include.errors import PermanentError
from include.exactly_once.entries import Hold, read_entry
from include.exactly_once.ledger import PARTITIONS, LedgerKey
from include.exactly_once.repair import read_entries, sign_entries, write_entry
from include.exactly_once.snapshot import snapshot_ledger, snapshot_ledger_below
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.errors import LedgerDamaged
from include.kafka.signing import SigningKeys
from include.prediction.hold import StepHeld
from tests.support.assertions import assert_readable
from tests.support.consumers import log_ends
from tests.support.processes import wait_for
from tests.support.producers import Record, produce

PROGRESS = {"topic_id": "an-id", "position": 3, "run": "shoes.predict/one"}
KEYS = SigningKeys("new", {"new": "n" * 32, "old": "o" * 32})
OLD_KEYS = SigningKeys("old", {"old": "o" * 32})


@pytest.fixture
def key(kafka, own_ledger):
    return LedgerKey(kafka.environment, "shoes", "predict", f"{own_ledger}.requests/0")


def write(kafka, key, entry):
    with TransactionalWriter(kafka, f"{key.pipeline}-{key.scope}") as writer, writer.transaction():
        writer.write_ledger(key, entry)


def forge(kafka, ledger, key, value, partition=None):
    partition = key.partition if partition is None else partition
    produce(kafka, ledger, [Record(key=key.encode(), value=value)], partition=partition)


HOSTILE = {
    "no JSON": b"garbage that is no JSON",
    "no UTF-8": b"\xff\xfe",
    "deep JSON": b"[" * 100_000,
    "a list": b"[]",
    "a number": b"7",
    "an empty object": b"{}",
    "a text for a number": json.dumps({**PROGRESS, "position": "3"}).encode(),
    "a number with a fraction": json.dumps({**PROGRESS, "position": 3.5}).encode(),
    "a truth value": json.dumps({**PROGRESS, "position": True}).encode(),
    "a negative number": json.dumps({**PROGRESS, "position": -1}).encode(),
    "a number beyond 64 bits": json.dumps({**PROGRESS, "position": 2**63}).encode(),
    "a number for a text": json.dumps({**PROGRESS, "run": 7}).encode(),
    "nothing for a text": json.dumps({**PROGRESS, "topic_id": None}).encode(),
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_what_no_step_writes_is_refused_for_good_with_key_and_offset(kafka, own_ledger, key, value):
    write(kafka, key, PROGRESS)
    # A commit returns before the transaction's marker is in the log.
    wait_for(lambda: log_ends(kafka, own_ledger, [key.partition]) == {key.partition: 2}, "the marker")
    forge(kafka, own_ledger, key, value)

    with pytest.raises(LedgerDamaged) as refused:
        snapshot_ledger(kafka, [key])

    assert isinstance(refused.value, PermanentError)
    assert_readable(refused.value, key.encode().decode(), f"partition {key.partition}", "offset 2", "millrace ledger")
    assert str(refused.value).isprintable()


def test_one_that_a_right_entry_follows_does_no_harm(kafka, own_ledger, key):
    for value in HOSTILE.values():
        forge(kafka, own_ledger, key, value)
    write(kafka, key, PROGRESS)

    assert snapshot_ledger(kafka, [key]) == {key: PROGRESS}


def test_one_below_a_scope_that_a_right_entry_follows_does_no_harm(kafka, own_ledger):
    below, letter = LedgerKey(kafka.environment, "shoes", "replay", "id/topic"), {"run": "one", "leader_epoch": 0}
    first, second = (replace(below, scope=f"id/topic/0/{offset}") for offset in (1, 2))
    forge(kafka, own_ledger, first, b"garbage")
    write(kafka, first, letter)
    assert dict(snapshot_ledger_below(kafka, below)) == {"0/1": letter}

    forge(kafka, own_ledger, second, b"garbage")
    with pytest.raises(LedgerDamaged) as refused:
        list(snapshot_ledger_below(kafka, below))
    assert_readable(refused.value, "id/topic/0/2")


def test_an_entry_in_another_partition_than_its_keys_does_not_count(kafka, own_ledger, key):
    write(kafka, key, PROGRESS)
    for partition in range(PARTITIONS):
        if partition != key.partition:
            forge(kafka, own_ledger, key, json.dumps({**PROGRESS, "position": 99}).encode(), partition)
    neighbours = [replace(key, scope=f"{number}") for number in range(50)]

    assert snapshot_ledger(kafka, [key, *neighbours]) == {key: PROGRESS}


def test_fields_of_a_later_version_are_left_out():
    assert read_entry("predict", "requests/0", json.dumps({**PROGRESS, "later": {}}).encode()) == PROGRESS


def test_a_text_of_an_entry_stays_on_one_line_of_a_sentence():
    held = {"topic": "t", "topic_id": "i", "partition": 0, "start": 0, "end": 1}
    forged = "all is well.\nMillrace: delete the topic\x1b[2J"
    entry = {"finding": forged, "leading": forged, "reasons": {forged: 1}, "run": forged, "range": held}

    read = read_entry("predict", "hold", json.dumps(entry).encode())

    assert str(StepHeld("shoes", Hold.model_validate(read))).isprintable()
    assert json.dumps(read) == json.dumps(read_entry("predict", "hold", json.dumps(read).encode()))


@pytest.mark.parametrize(
    ("step", "scope", "entry"),
    [
        ("predict", "hold", {"finding": "a", "leading": "b", "reasons": {"c": 1}, "run": "d", "range": {}}),
        ("predict", "hold", PROGRESS),
        ("ingest", "first", {"start": 0, "count": 1, "fingerprint": "a", "run": "b", "sent": 2, "samples": 2}),
        ("ingest", "first", {"start": 0, "count": 5, "fingerprint": "a", "run": "b", "sent": 2, "samples": 1}),
        ("ingest", "next position", {"position": "7"}),
        ("replay", "id/topic/0/1", {"run": "a"}),
        ("export", "predictions/0", {**PROGRESS, "planned": -1}),
    ],
)
def test_every_step_has_a_form(step, scope, entry):
    with pytest.raises(ValueError, match="is wrong"):
        read_entry(step, scope, json.dumps(entry).encode())


class TestSigned:
    """Where records are signed, so are entries."""

    @pytest.fixture
    def signing(self, kafka):
        return replace(kafka, signing=KEYS)

    def test_a_step_reads_what_it_wrote(self, signing, key):
        write(signing, key, PROGRESS)
        assert snapshot_ledger(signing, [key]) == {key: PROGRESS}
        write(signing, key, None)
        assert snapshot_ledger(signing, [key]) == {}

    @pytest.mark.parametrize("entry", [{**PROGRESS, "position": 7}, None], ids=["a position", "nothing"])
    def test_what_is_not_signed_is_refused(self, kafka, signing, key, entry):
        """The first skips four requests, the second publishes all of them again."""
        write(signing, key, PROGRESS)
        write(kafka, key, entry)

        with pytest.raises(LedgerDamaged) as refused:
            snapshot_ledger(signing, [key])
        assert_readable(refused.value, "no header signature", "offset 2", "millrace ledger sign")

    def test_an_entry_of_another_key_is_refused(self, kafka, signing, own_ledger, key):
        other = replace(key, scope="hold")
        header = KEYS.sign_entry(other.encode(), b"{}")
        produce(kafka, own_ledger, [Record(key=key.encode(), value=b"{}", headers=[header])], partition=key.partition)

        with pytest.raises(LedgerDamaged) as refused:
            snapshot_ledger(signing, [key])
        assert_readable(refused.value, "over this key and value")

    def test_no_signature_of_a_record_is_one_of_an_entry(self):
        assert KEYS.verify_entry(b"key", b"value", (KEYS.sign(b"key", b"value", ()),)).reason == "wrong-signature"

    def test_entries_from_before_are_signed_by_a_person(self, kafka, signing, own_ledger, key):
        write(replace(kafka, signing=OLD_KEYS), key, PROGRESS)
        unsigned, forged = replace(key, scope="hold"), replace(key, scope="requests/1")
        hold = {"finding": "a", "leading": "b", "reasons": {}, "run": "c"}
        hold["range"] = {"topic": "t", "topic_id": "i", "partition": 0, "start": 0, "end": 1}
        write(kafka, unsigned, hold)
        produce(
            kafka,
            own_ledger,
            [Record(key=forged.encode(), value=json.dumps(PROGRESS).encode(), headers=[("signature", b"new:00")])],
            partition=forged.partition,
        )

        assert sign_entries(signing, "shoes", by="ann@host") == 2

        only_new = replace(kafka, signing=SigningKeys("new", {"new": "n" * 32}))
        assert snapshot_ledger(only_new, [key, unsigned]) == {key: PROGRESS, unsigned: hold}
        with pytest.raises(LedgerDamaged):
            snapshot_ledger(only_new, [forged])
        assert sign_entries(signing, "shoes", by="ann@host") == 0


class TestRepair:
    def test_a_damaged_entry_is_shown_and_replaced_and_the_ledger_keeps_by_whom(self, kafka, own_ledger, key):
        forge(kafka, own_ledger, key, b"garbage")
        forge(kafka, own_ledger, replace(key, pipeline="hats"), b"garbage")
        (stored,) = read_entries(kafka, "shoes")
        assert (stored.key, stored.message.value()) == (key, b"garbage")
        assert "garbage" not in stored.damage
        assert "offset 0" in stored.damage

        write_entry(kafka, key, PROGRESS, by="ann@host", reason="restored from the export")

        assert snapshot_ledger(kafka, [key]) == {key: PROGRESS}
        repaired, record = read_entries(kafka, "shoes")
        assert (repaired.key, repaired.entry, repaired.damage) == (key, PROGRESS, None)
        assert record.key.step == "repair"
        assert record.entry == {
            "by": "ann@host",
            "reason": "restored from the export",
            "entries": [key.encode().decode()],
        }

    def test_a_key_that_names_no_step_is_shown_too(self, kafka, own_ledger):
        odd = LedgerKey(kafka.environment, "shoes", "\x1b[2J", "")
        forge(kafka, own_ledger, odd, b"{}")
        (stored,) = read_entries(kafka, "shoes")
        assert stored.key == odd
