"""Sounds are decoded at the format's rate, mixed to one channel, and cut or padded to its length."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from pydantic import ValidationError

from include.codecs._audio import MAX_CHANNELS, MAX_FRAMES, WORTH_A_THREAD
from include.codecs.flac import FlacCodec
from include.codecs.mp3 import Mp3Codec, frame_bytes
from include.codecs.ogg import OggCodec
from include.codecs.pcm import PcmCodec
from include.codecs.wav import WavCodec
from include.definition.kinds import KINDS
from tests.support.assertions import assert_readable
from tests.support.corpus import FLAC, OGG, WAV, flipped
from tests.support.sounds import RATE, WHOLE_FLAC, WHOLE_MP3, WHOLE_OGG, WHOLE_OPUS, sound_file, tone

ID3, TAG = b"ID3\4\0\0\0\0\0\5title", b"TAG" + bytes(125)
APE = b"APETAGEX" + struct.pack("<III", 2000, 42, 0) + bytes(12) + b"x" * 10 + b"APETAGEX" + bytes(24)
SECOND = WavCodec(sample_rate=RATE, seconds=1)
KINDS_OF_FILE = ["audio.wav", "audio.flac", "audio.ogg", "audio.mp3"]


def decoded_by(codec, value):
    """The waveform, int16 (samples,)."""
    decoded = codec.decode([value])
    assert decoded.refusals == {}
    return decoded.samples[0, 0]


def refusal_of(codec, value):
    (refusal,) = codec.decode([value]).refusals.values()
    return refusal


def as_int16(wave):
    return np.rint(wave * 2**15).astype(np.int16)


def loudest(wave, rate):
    """The strongest frequency of a waveform in Hz."""
    return np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave)


@pytest.mark.parametrize(
    "codec",
    [codec(sample_rate=RATE, seconds=1) for codec in (WavCodec, FlacCodec, OggCodec, Mp3Codec, PcmCodec)],
    ids=lambda codec: codec.kind,
)
def test_a_sound_is_decoded_nearly_as_it_was_encoded(codec):
    wave = as_int16(tone(440, seconds=1))

    found = decoded_by(codec, codec.encode(wave[None]))

    assert np.abs(found.astype(int) - wave).mean() <= 200


@pytest.mark.parametrize("encoding", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
@pytest.mark.parametrize("file_format", ["WAV", "WAVEX"])
def test_usual_encodings_of_wav_are_read(file_format, encoding):
    found = decoded_by(SECOND, sound_file(tone(440, seconds=1), file_format, encoding=encoding))

    assert np.abs(found.astype(int) - as_int16(tone(440, seconds=1))).max() <= 800


@pytest.mark.parametrize("rate", [4000, 11_025, 44_100, 48_000, 96_000])
def test_another_rate_is_resampled(rate):
    found = decoded_by(SECOND, sound_file(tone(440, seconds=1, rate=rate), "WAV", rate=rate))

    assert np.abs(found.astype(int) - as_int16(tone(440, seconds=1)))[200:-200].max() <= 30


def test_frequencies_above_the_lower_rate_s_limit_are_filtered_out():
    """Without the filter, taking every sixth number would alias it to 1 kHz."""
    found = decoded_by(SECOND, sound_file(tone(7000, seconds=1, rate=48_000), "WAV", rate=48_000))

    assert np.abs(found[200:-200].astype(int)).max() <= 10


def test_channels_are_averaged():
    left, right = tone(440, seconds=1), tone(880, seconds=1)

    found = decoded_by(SECOND, sound_file(np.stack([left, right], axis=1), "WAV"))

    assert np.abs(found.astype(int) - as_int16((left + right) / 2)).max() <= 1


COUNTED = np.arange(10, dtype="<i2")


@pytest.mark.parametrize(
    ("align", "length", "expected"),
    [
        ("center", 4, [3, 4, 5, 6]),
        ("start", 4, [0, 1, 2, 3]),
        ("center", 14, [0, 0, *range(10), 0, 0]),
        ("start", 14, [*range(10), 0, 0, 0, 0]),
        ("center", 10, [*range(10)]),
    ],
)
def test_a_sound_is_cut_or_padded(align, length, expected):
    settings = {"sample_rate": RATE, "samples": length, "align": align}

    assert decoded_by(PcmCodec(**settings), COUNTED.tobytes()).tolist() == expected
    assert decoded_by(WavCodec(**settings), sound_file(COUNTED, "WAV")).tolist() == expected


def test_the_middle_of_a_long_file_is_decoded_without_the_rest():
    parts = [tone(frequency, seconds=60) for frequency in (300, 600, 900)]
    codec = FlacCodec(sample_rate=RATE, seconds=1)

    assert loudest(decoded_by(codec, sound_file(np.concatenate(parts), "FLAC")), RATE) == 600


@pytest.mark.parametrize("kind", KINDS_OF_FILE)
def test_long_sounds_are_the_same_in_several_threads(kind):
    settings = {"kind": kind, "sample_rate": RATE, "samples": WORTH_A_THREAD}
    codec = KINDS["format"][kind].model_validate(settings)
    sounds = [codec.encode(as_int16(tone(440 + number, seconds=WORTH_A_THREAD / RATE))[None]) for number in range(5)]
    values = [sounds[0], None, *sounds[1:4], b"no sound", sounds[4]]
    alone = [decoded_by(codec, sound) for sound in sounds]

    decoded = codec.decode(values)

    assert decoded.positions.tolist() == [0, 2, 3, 4, 6]
    assert list(decoded.refusals) == [1, 5]
    np.testing.assert_array_equal(decoded.samples[:, 0], alone)


def test_numbers_beyond_full_scale_are_clipped():
    found = decoded_by(SECOND, sound_file(tone(440, seconds=1, level=1e30), "WAV", encoding="FLOAT"))

    assert (found.min(), found.max()) == (-(2**15), 2**15 - 1)


@pytest.mark.parametrize(("dtype", "scale"), [("int16", 2**15), ("int32", 2**31), ("float32", 1)])
def test_pcm_is_read_by_its_dtype_and_channels(dtype, scale):
    wave = np.array([0.5, -0.5, 0.25, 0.0])
    value = np.repeat(wave * scale, 2).astype(np.dtype(dtype).newbyteorder("<")).tobytes()

    found = decoded_by(PcmCodec(sample_rate=RATE, samples=4, dtype=dtype, channels=2), value)

    assert found.tolist() == as_int16(wave).tolist()


def test_pcm_of_another_rate_is_written_at_that_rate():
    codec = PcmCodec(sample_rate=RATE, seconds=1, rate=16_000, channels=2)
    wave = as_int16(tone(440, seconds=1))

    value = codec.encode(wave[None])

    assert len(value) == 16_000 * 2 * 2
    assert np.abs(decoded_by(codec, value).astype(int) - wave)[200:-200].max() <= 30


def test_eight_channels_are_mixed_and_nine_are_not():
    codec = WavCodec(sample_rate=RATE, samples=10)

    assert codec.decode([sound_file(np.zeros((10, MAX_CHANNELS)), "WAV")]).refusals == {}
    assert refusal_of(codec, sound_file(np.zeros((10, MAX_CHANNELS + 1)), "WAV")).reason == "too-many-channels"


def test_a_format_may_have_more_frames_than_the_limit():
    codec = PcmCodec(sample_rate=1000, samples=MAX_FRAMES + 1)

    assert codec.window(1000, 1, MAX_FRAMES + 1) == (0, MAX_FRAMES + 1)


@pytest.mark.parametrize(
    ("settings", "whole"),
    [(FLAC, WHOLE_FLAC), (OGG, WHOLE_OGG), (OGG, WHOLE_OPUS)],
    ids=["flac", "vorbis", "opus"],
)
def test_a_flipped_bit_in_the_sound_is_refused(settings, whole):
    """By its checksums; WAV and MP3 have none."""
    codec = KINDS["format"][settings["kind"]].model_validate(settings)
    random = np.random.default_rng(seed := 1)
    places = random.integers(len(whole) // 2, len(whole), 200)

    reasons = {refusal_of(codec, flipped(whole, int(place), int(random.integers(8)))).reason for place in places}

    assert reasons == {"undecodable"}, f"seed {seed}"


@pytest.mark.parametrize(("kind", "spared"), [("audio.wav", 0), ("audio.flac", 0), ("audio.ogg", 0), ("audio.mp3", 1)])
def test_a_file_that_is_cut_short_anywhere_is_refused(kind, spared):
    """But for the last frame of an MP3, which is left out as players do."""
    codec = KINDS["format"][kind].model_validate({**WAV, "kind": kind})
    whole = codec.encode(as_int16(tone(440))[None])
    end = len(whole) if not spared else len(whole) - _last_frame_bytes(whole)

    reasons = {refusal_of(codec, whole[:length]).reason for length in range(1, end, 3)}

    assert reasons == {"undecodable"}


def _last_frame_bytes(mp3):
    start = 0
    while start + frame_bytes(mp3[start : start + 4]) < len(mp3):
        start += frame_bytes(mp3[start : start + 4])
    return len(mp3) - start


@pytest.mark.parametrize(
    "value",
    [
        ID3 + WHOLE_MP3,
        ID3 + ID3 + bytes(100) + WHOLE_MP3,
        WHOLE_MP3 + TAG,
        WHOLE_MP3 + APE + TAG,
        WHOLE_MP3 + bytes(500) + TAG,
        WHOLE_MP3 + ID3,
        WHOLE_MP3 + bytes(500),
    ],
    ids=["ID3v2 before", "two before", "ID3v1 behind", "two behind", "zeros and a tag", "ID3v2 behind", "zeros behind"],
)
def test_tags_of_an_mp3_are_skipped(value):
    codec = Mp3Codec(sample_rate=RATE, seconds=0.05)

    np.testing.assert_array_equal(decoded_by(codec, value), decoded_by(codec, WHOLE_MP3))


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
def test_every_rate_and_mode_of_mp3_is_read(rate, mode):
    value = sound_file(tone(440, seconds=1, rate=rate), "MP3", rate=rate, bitrate_mode=mode)

    assert loudest(decoded_by(Mp3Codec(sample_rate=RATE, seconds=1), value), RATE) == 440


def test_encoding_at_a_rate_that_mp3_does_not_have_is_refused():
    codec = Mp3Codec(sample_rate=96_000, samples=400, spectrogram={"n_fft": 2048})

    with pytest.raises(ValueError, match="96000") as refusal:
        codec.encode(np.zeros((1, 400), np.int16))

    assert_readable(refusal.value, "sample_rate")


@pytest.mark.parametrize("kind", [*KINDS_OF_FILE, "audio.pcm"])
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "seconds and samples"),
        ({"seconds": 1, "samples": 8000}, "seconds and samples"),
        ({"seconds": 0.00001}, "and not 0"),
        ({"seconds": 3600, "sample_rate": 384_000}, "1382400000"),
        ({"seconds": 1, "sample_rate": 1}, "greater than or equal to 1000"),
        ({"seconds": 1, "spectrogram": {"fmax": 5000}}, "half the rate"),
        ({"seconds": 1, "spectrogram": {"fmin": 4000}}, "no range below 4000"),
        ({"seconds": 1, "spectrogram": {"n_mels": 200}}, "set a smaller n_mels or a larger n_fft"),
        ({"seconds": 1, "spectrogram": {"hop": 513}}, "leaves out samples"),
        ({"samples": 2**26, "spectrogram": {"hop": 1}}, "has more than"),
        ({"seconds": 1, "spectrogram": {"mels": 40}}, "mels"),
    ],
    ids=str,
)
def test_invalid_settings_are_refused(kind, settings, named):
    with pytest.raises(ValidationError, match=named):
        KINDS["format"][kind].model_validate({"kind": kind, "sample_rate": RATE, **settings})
