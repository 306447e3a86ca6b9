"""The bundled speech: the same bytes at every reading, in whatever order, and all of everything in every batch."""

from __future__ import annotations

import io
import wave
from collections import Counter

import numpy as np
import pytest

from include.sources import spoken_digits
from include.sources.base import SourceChanged, SourceRefused
from include.sources.spoken_digits import ACCENTS, PITCHES, RATES, VOICES, SpokenDigitsSource, Utterance, speak
from tests.support.assertions import assert_readable

SOURCE = SpokenDigitsSource()


@pytest.fixture(scope="module")
def samples():
    return SOURCE.read(1000, 60)


def frames_of(content):
    """int16 (frames,) and the rate."""
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


def test_no_two_samples_say_the_same():
    ids = {SOURCE.utterance(position).id for position in range(SOURCE.count())}

    assert len(ids) == SOURCE.count() == 87_500


def test_an_id_has_digit_accent_voice_rate_and_pitch():
    assert Utterance(7, "en-us", "f2", 160, 50).id == "7/en-us+f2/160/50"


def test_a_sample_is_the_same_whatever_is_read_around_it(samples):
    """The library keeps the state of its voice from one utterance to the next."""
    backwards = [SOURCE.read(position, 1)[0] for position in (1059, 1030, 1007)]

    assert backwards == [samples[59], samples[30], samples[7]]


def test_every_voice_and_accent_speaks_and_none_as_another_does():
    said = [Utterance(7, accent, voice, 160, 50) for voice in VOICES for accent in ("en-us", "en-029")]

    sounds = [frames_of(sound) for sound in speak(said)]

    assert len({frames.tobytes() for frames, _ in sounds}) == len(said)
    assert {rate for _, rate in sounds} == {22_050}
    assert all(0.2 < len(frames) / rate < 1.3 for frames, rate in sounds)
    assert all(np.abs(frames.astype(int)).max() > 3000 for frames, _ in sounds)


def test_accents_rates_and_pitches_change_what_is_heard():
    said = [
        *[Utterance(8, accent, "m1", 160, 50) for accent in ACCENTS[:-1]],
        *[Utterance(8, "en-us", "m1", rate, 50) for rate in RATES if rate != 160],
        *[Utterance(8, "en-us", "m1", 160, pitch) for pitch in PITCHES if pitch != 50],
    ]

    assert len(set(speak(said))) == len(said)


@pytest.mark.parametrize("start", [0, 900, 86_000])
def test_a_batch_has_all_digits_voices_accents_rates_and_pitches_alike(start):
    batch = [SOURCE.utterance(position) for position in range(start, start + 900)]

    for name, values in zip(Utterance._fields, (range(10), ACCENTS, VOICES, RATES, PITCHES), strict=True):
        counts = Counter(getattr(utterance, name) for utterance in batch)
        even = 900 / len(values)
        assert all(0.85 * even <= counts[value] <= 1.15 * even for value in values), (name, counts)
    assert len({(utterance.voice, utterance.digit) for utterance in batch}) == 500, "each voice says each digit"


def test_a_voice_is_a_group_in_whatever_accent(samples):
    for position, sample in enumerate(samples, 1000):
        assert sample.group == SOURCE.utterance(position).voice
        assert sample.label == sample.id[0]


def test_reading_beyond_the_end_gives_what_there_is():
    assert len(SOURCE.read(SOURCE.count() - 2, 100)) == 2
    assert SOURCE.read(SOURCE.count(), 100) == []


def test_another_synthesiser_is_refused_with_both_versions_named(monkeypatch):
    sent = SOURCE.prefix(1000)
    SOURCE.check_prefix(1000, sent)
    SOURCE.check_prefix(1000, {})  # of a batch that an earlier version of Millrace has sent

    monkeypatch.setattr(spoken_digits, "speak", lambda utterances: [b"another voice"] * len(utterances))
    SOURCE.check_prefix(0, sent)
    with pytest.raises(SourceChanged) as refusal:
        SOURCE.check_prefix(1000, {**sent, "version": "0.0.1"})

    assert_readable(refusal.value, "0.0.1", sent["version"], "first 1000 utterances")


def test_what_another_kind_of_source_sent_is_refused():
    with pytest.raises(SourceChanged, match="another kind"):
        SOURCE.check_prefix(10, {"rows": "x"})


def test_a_library_that_does_not_run_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("espeakng_loader.get_library_path", lambda: str(tmp_path / "missing.so"))

    with pytest.raises(SourceRefused, match=r"missing\.so") as refusal:
        SOURCE.read(0, 1)

    assert_readable(refusal.value, "espeak-ng")


def test_a_voice_that_the_library_does_not_have_is_refused():
    with pytest.raises(SourceRefused, match=r"nobody") as refusal:
        speak([Utterance(1, "en-nowhere", "nobody", 160, 50)])

    assert_readable(refusal.value)


def test_a_program_that_never_ends_is_refused(monkeypatch, tmp_path):
    program = tmp_path / "sleep.py"
    program.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(spoken_digits, "PROGRAM", program)
    monkeypatch.setattr(spoken_digits, "PATIENCE_S", 0.2)

    with pytest.raises(SourceRefused, match="timed out") as refusal:
        SOURCE.read(0, 1)

    assert_readable(refusal.value)
