"""Dead letters for a person: by reason, as found, from a real broker."""

from __future__ import annotations

import time

from include.exactly_once.attempt import Attempt
from include.kafka.dead_letters import ADDRESS, ERROR, REASON, RUN, TIMESTAMP
from include.overview import deaths as module
from include.overview.deaths import dead_letter_at, newest_dead_letters
from include.overview.flow import FlowReader
from include.overview.remedies import REMEDIES, UNKNOWN
from include.refusal import REASONS
from include.replay.replay import STEP, replay_dead_letters
from include.replay.selection import Selection
from tests.support.producers import NOW_MS, Record, produce
from tests.support.publishing import ask, bad_request, publish, request
from tests.support.tiny_pipelines import tiny_pipeline, tiny_predictor


def dead(reason: bytes, at_ms: int, value: bytes | None = b"x") -> Record:
    return Record(value, b"key", [(REASON, reason), (ERROR, b"Because.")], timestamp_ms=at_ms)


def test_every_reason_has_a_remedy():
    assert list(REMEDIES) == list(REASONS)
    assert all(len(text) > 30 and text.endswith(".") for text in REMEDIES.values())


def test_what_a_prediction_refused_is_found_with_its_cause_and_origin(kafka, new_pipeline):
    pipeline = new_pipeline()
    publish(kafka, pipeline, ask(kafka, pipeline, request(0), bad_request(1)), tiny_predictor())

    found = newest_dead_letters(kafka, pipeline, 10)

    (letter,) = found.letters
    assert (letter.reason, letter.origin, letter.run) == ("wrong-size", f"{pipeline.requests_topic}/0/1", "run-1")
    assert (letter.value, letter.meaning, letter.remedy) == ("123", REASONS["wrong-size"], REMEDIES["wrong-size"])
    assert REASON not in dict(letter.headers)
    assert (found.counted, found.complete) == (1, True)
    assert dead_letter_at(kafka, pipeline, 0, letter.address.offset) == letter
    assert dead_letter_at(kafka, pipeline, 0, 10**6) is None


def test_reasons_are_counted_the_most_frequent_first_and_select(kafka, new_pipeline):
    pipeline = new_pipeline()
    hour = 3_600_000
    letters = [(b"empty", 3), (b"undecodable", 2), (b"undecodable", 1)]
    produce(kafka, pipeline.dead_letters_topic, [dead(reason, NOW_MS - age * hour) for reason, age in letters])

    found = newest_dead_letters(kafka, pipeline, 10, reason="undecodable")

    assert [(seen.reason, seen.count) for seen in found.reasons] == [("undecodable", 2), ("empty", 1)]
    assert (found.reasons[0].first_ms, found.reasons[0].last_ms) == (NOW_MS - 2 * hour, NOW_MS - hour)
    assert [letter.reason for letter in found.letters] == ["undecodable"] * 2


def test_only_the_newest_are_read(kafka, new_pipeline, monkeypatch):
    monkeypatch.setattr(module, "COUNTED", 5)
    pipeline = new_pipeline()
    now = int(time.time() * 1000)
    produce(kafka, pipeline.dead_letters_topic, [dead(b"empty", now + number) for number in range(8)])

    found = newest_dead_letters(kafka, pipeline, 2)

    assert (found.counted, found.complete, len(found.letters)) == (5, False, 2)


def test_a_record_that_another_program_wrote_is_shown_as_such(kafka, new_pipeline):
    pipeline = new_pipeline()
    headers = [(REASON, b"<b>\x1b" * 100), (ERROR, None), (ADDRESS, b"\xff"), (RUN, b"r"), (TIMESTAMP, b"t")]
    produce(kafka, pipeline.dead_letters_topic, [Record(None, None, headers), Record(b"\x00" * 9000, b"", [])])

    other, first = newest_dead_letters(kafka, pipeline, 10).letters

    assert len(first.reason) <= 5 * module.LONGEST_REASON
    assert "\x1b" not in first.reason
    assert (first.value, first.error, first.remedy) == ("null", "null", UNKNOWN)
    assert (other.reason, other.origin) == ("unknown", "not known")
    assert other.value.endswith("(9,000 bytes)")


def test_a_pipeline_without_topics_has_none(kafka, new_name):
    assert newest_dead_letters(kafka, tiny_pipeline(new_name()), 10).counted == 0


def test_what_was_replayed_is_known_and_what_is_replayed_later_is_found_by_the_next_look(
    kafka, new_pipeline, monkeypatch
):
    pipeline = new_pipeline()
    monkeypatch.setattr("include.overview.ledger.KEPT_REPLAYS", 2)
    produce(kafka, pipeline.dead_letters_topic, [dead(b"empty", NOW_MS) for _ in range(4)])
    reader = FlowReader(lambda: kafka, lambda connection, _: connection)

    def replayed_after(run: str, number: int) -> list[bool]:
        if number:
            replay_dead_letters(Attempt(kafka, pipeline.name, STEP, run), pipeline, Selection(number=number))
        replayed = reader.read([pipeline])[pipeline.name].replayed
        found = newest_dead_letters(kafka, pipeline, 10, replayed=replayed)
        assert found.reasons[0].replayed == sum(letter.replayed for letter in found.letters)
        (first,) = [letter for letter in found.letters if letter.address.offset == 0]
        assert dead_letter_at(kafka, pipeline, 0, 0, replayed=replayed) == first
        return [letter.replayed for letter in reversed(found.letters)]

    assert replayed_after("none", 0) == [False, False, False, False]
    assert replayed_after("first", 1) == [True, False, False, False]
    assert replayed_after("second", 1) == [True, True, False, False]
    assert replayed_after("third", 1) == [False, True, True, False]  # the newest that are kept
