"""An unsigned dead letter is never replayed as a signed record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from include.exactly_once.attempt import Attempt
from include.kafka.signing import InvalidSigningKeys, SigningKeys
from include.replay.replay import replay_dead_letters
from include.replay.selection import Selection
from tests.support.consumers import committed_records
from tests.support.producers import Record, produce
from tests.support.signed_records import KEYS, RETIRED, SECRET, TAMPERED, signature, signed
from tests.support.tiny_pipelines import SCHEMA, numbers

REQUEST = Record(numbers(1).tobytes(), b"id-1", [("schema", SCHEMA)])


def buried(plain, reason):
    return replace(plain, headers=[*plain.headers, ("dead-letter-reason", reason.encode())])


@pytest.fixture
def signing(new_pipeline):
    return new_pipeline(signing={"connection": "keys"})


def replay(kafka, pipeline, keys=KEYS):
    return replay_dead_letters(
        Attempt(replace(kafka, signing=keys), pipeline.name, "replay", "run-1"), pipeline, Selection()
    )


def requests(kafka, pipeline):
    return committed_records(kafka, pipeline.requests_topic)


def test_a_signed_record_is_replayed_with_its_signature(kafka, signing):
    produce(kafka, signing.dead_letters_topic, [buried(signed(REQUEST), "not-finite")])

    assert replay(kafka, signing).replayed == 1
    (again,) = requests(kafka, signing)
    assert again.headers() == [("schema", SCHEMA), ("signature", signature(REQUEST)), ("replays", b"1")]


def test_a_record_not_signed_by_a_known_key_stays_dead(kafka, signing):
    letters = [buried(change(signed(REQUEST)), reason) for change, reason in TAMPERED.values()]
    produce(kafka, signing.dead_letters_topic, letters)

    done = replay(kafka, signing)

    assert done.replayed == 0
    assert done.selected == len(TAMPERED)
    assert set(done.stay_dead) == {"unsigned", "wrong-signature", "unknown-key"}
    assert requests(kafka, signing) == []


def test_a_changed_dead_letter_stays_dead(kafka, signing):
    """It is dead for another reason, so only its signature shows the change."""
    changed = replace(signed(REQUEST), value=numbers(2).tobytes())
    produce(kafka, signing.dead_letters_topic, [buried(changed, "not-finite")])

    assert replay(kafka, signing).stay_dead == {"wrong-signature": 1}


def test_records_are_replayed_once_their_key_is_known_again(kafka, signing):
    produce(kafka, signing.dead_letters_topic, [buried(signed(REQUEST, "2025", RETIRED), "unknown-key")])

    assert replay(kafka, signing, SigningKeys("2026", {"2026": SECRET})).stay_dead == {"unknown-key": 1}
    assert replay(kafka, signing).replayed == 1


def test_without_signing_a_signature_is_a_header_like_any_other(kafka, new_pipeline):
    pipeline = new_pipeline()
    forged = replace(REQUEST, headers=[("schema", SCHEMA), ("signature", b"forged")])
    produce(kafka, pipeline.dead_letters_topic, [buried(forged, "wrong-schema"), buried(REQUEST, "wrong-schema")])

    assert replay(kafka, pipeline).replayed == 2
    assert requests(kafka, pipeline)[0].headers() == [*forged.headers, ("replays", b"1")]


def test_without_keys_nothing_is_replayed(kafka, signing):
    produce(kafka, signing.dead_letters_topic, [buried(signed(REQUEST), "not-finite")])

    with pytest.raises(InvalidSigningKeys):
        replay(kafka, signing, keys=None)
    assert requests(kafka, signing) == []
