"""A sound is decoded to its end and a window is the same part of it, whatever its file says or leaves open."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from include.codecs.mp3 import frame_bytes
from include.codecs.ogg import END_OF_STREAM, checksum
from include.definition.kinds import KINDS
from tests.support.sounds import flac_claiming, sound_file

SEED = 11
SECONDS = 3.3
ID3, TAG = b"ID3\4\0\0\0\0\0\5title", b"TAG" + bytes(125)
WINDOW_S = 0.4
# Samples have 16 bits; mpg123 rounds in another order after a seek, as soundfile.read makes one.
ROUNDED = 1.01 * 2**-15


def noise(rate, *, seconds=SECONDS, channels=1):
    """float32 (frames, channels): noise that swells and fades, so that no two places and no two bit rates are alike."""
    random = np.random.default_rng([SEED, rate])
    frames = round(seconds * rate)
    level = np.interp(np.arange(frames), np.linspace(0, frames, 9), 0.2 * random.random(9) ** 2)
    return (level[:, None] * random.standard_normal((frames, channels))).clip(-1, 1).astype(np.float32)


def mp3(wave, rate, mode):
    return sound_file(wave, "MP3", rate=rate, bitrate_mode=mode, compression_level=0.5)


def without_count(value):
    """An MP3 without the frame that counts the others."""
    return value[frame_bytes(value[:4]) :]


def frames_of_mp3(value):
    starts = [0]
    while starts[-1] < len(value):
        starts.append(starts[-1] + frame_bytes(value[starts[-1] : starts[-1] + 4]))
    return starts


def pages_of(ogg):
    starts = [start for start in range(len(ogg)) if ogg.startswith(b"OggS", start)]
    return [ogg[start:end] for start, end in zip(starts, [*starts[1:], len(ogg)], strict=True)]


def without_end(ogg):
    """An Ogg whose last page isn't marked as such."""
    *others, last = pages_of(ogg)
    page = bytearray(last)
    page[5] &= ~END_OF_STREAM
    page[22:26] = bytes(4)
    page[22:26] = checksum(bytes(page)).to_bytes(4, "little")
    return b"".join(others) + bytes(page)


def all_of(value):
    """float32 (frames,): soundfile reads all of it at once."""
    return soundfile.read(io.BytesIO(value), dtype="float32", always_2d=True)[0].clip(-1, 1).mean(axis=1)


def codec_of(kind, rate, **settings):
    return KINDS["format"][kind].model_validate(
        {"kind": kind, "sample_rate": rate, "spectrogram": {"n_mels": 8}, **settings}
    )


def decoded(kind, rate, value, **settings):
    """float (samples,) of full scale 1.0."""
    result = codec_of(kind, rate, **settings).decode([value])
    assert result.refusals == {}
    return result.samples[0, 0] / 2**15


def whole(kind, rate, value):
    """All that the codec decodes of a value."""
    return decoded(kind, rate, value, samples=codec_of(kind, rate, samples=1000).extent(value).frames)


def error_of(kind, rate, value, **settings):
    ((_, refusal),) = codec_of(kind, rate, **(settings or {"seconds": 1})).decode([value]).refusals.items()
    assert refusal.reason == "undecodable"
    return refusal.error


FILES = {
    "WAV of 16 bits": ("audio.wav", lambda wave, rate: sound_file(wave, "WAV", rate=rate)),
    "WAV of 24 bits": ("audio.wav", lambda wave, rate: sound_file(wave, "WAV", rate=rate, encoding="PCM_24")),
    "WAV of floats": ("audio.wav", lambda wave, rate: sound_file(wave, "WAV", rate=rate, encoding="FLOAT")),
    "FLAC": ("audio.flac", lambda wave, rate: sound_file(wave, "FLAC", rate=rate)),
    "Vorbis": ("audio.ogg", lambda wave, rate: sound_file(wave, "OGG", rate=rate)),
    "constant MP3": ("audio.mp3", lambda wave, rate: mp3(wave, rate, "CONSTANT")),
    "variable MP3": ("audio.mp3", lambda wave, rate: mp3(wave, rate, "VARIABLE")),
    "constant MP3 without a count": ("audio.mp3", lambda wave, rate: without_count(mp3(wave, rate, "CONSTANT"))),
}
OPUS = ("audio.ogg", lambda wave, rate: sound_file(wave, "OGG", rate=rate, encoding="OPUS"))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("file", "rate"),
    [(name, rate) for name in FILES for rate in (16_000, 22_050, 44_100)] + [("Opus", 16_000), ("Opus", 48_000)],
)
def test_a_window_is_the_same_part_of_the_whole(file, rate, channels):
    """Its start and its middle; the end as the second half of a window that is nearly all of the sound."""
    kind, write = FILES.get(file, OPUS)
    value = write(noise(rate, channels=channels), rate)
    expected = all_of(value)
    lengths = {"start": round(WINDOW_S * rate), "center": round(WINDOW_S * rate), "end": len(expected) - 99}
    begins = {"start": 0, "center": (len(expected) - lengths["center"]) // 2, "end": 99 // 2}

    for place, length in lengths.items():
        align = "start" if place == "start" else "center"
        found = decoded(kind, rate, value, samples=length, align=align)
        np.testing.assert_allclose(
            found, expected[begins[place] :][:length], atol=ROUNDED, err_msg=f"{place}, seed {SEED}"
        )


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
@pytest.mark.parametrize("loud_first", [True, False])
def test_a_variable_mp3_without_a_count_is_decoded_to_its_end(rate, loud_first):
    """libsndfile estimates its length by the first frames: half or twice as long."""
    random = np.random.default_rng(SEED)
    level = np.where(np.arange(4 * rate) < 2 * rate, 0.001, 0.5)[:: -1 if loud_first else 1]
    value = without_count(mp3((level * random.standard_normal(4 * rate)).clip(-1, 1), rate, "VARIABLE"))
    counted = (len(frames_of_mp3(value)) - 1) * (1152 if rate > 24_000 else 576)
    with_zeros = soundfile.SoundFile(io.BytesIO(value + bytes(10 * len(value))))  # so that its estimate is long enough
    expected = with_zeros.read(counted, dtype="float32").clip(-1, 1)

    assert codec_of("audio.mp3", rate, samples=1000).extent(value).frames == counted
    np.testing.assert_allclose(whole("audio.mp3", rate, value), expected, atol=ROUNDED, err_msg=f"seed {SEED}")
    found = decoded("audio.mp3", rate, value, seconds=1)
    begin = (counted - rate) // 2
    np.testing.assert_allclose(found, expected[begin : begin + rate], atol=ROUNDED)


WAVE = noise(16_000, seconds=0.5)
WAV = sound_file(WAVE, "WAV", rate=16_000)
DATA = WAV.index(b"data")


def wav_claiming(file, data, tag=b"RIFF"):
    return tag + struct.pack("<I", file) + WAV[8:DATA] + b"data" + struct.pack("<I", data) + WAV[DATA + 8 :]


RF64 = sound_file(WAVE, "RF64", rate=16_000)
WHOLE_RIFF = len(WAV) - 8
UNKNOWN = {
    "ffmpeg to a pipe": wav_claiming(0xFFFF_FFFF, 0xFFFF_FFFF),
    "sox to a pipe": wav_claiming(0x7FFF_F024, 0x7FFF_F000),
    "arecord to a pipe": wav_claiming(0x8000_0024, 0x8000_0000),
    "no sizes": wav_claiming(0, 0),
    "Python to a pipe": wav_claiming(36, 0),
    "16 bytes too many": wav_claiming(WHOLE_RIFF, len(WAV) - DATA + 8),
    "the file's size right and none of the data": wav_claiming(WHOLE_RIFF, 0),
    "RF64": RF64,
    "RF64 without sizes": RF64.replace(RF64[20:44], bytes(24)),
    "BW64": b"BW64" + RF64[4:],
}


@pytest.mark.parametrize("value", UNKNOWN.values(), ids=UNKNOWN)
def test_a_wav_of_unknown_or_wrong_size_is_read_to_its_end(value):
    np.testing.assert_array_equal(whole("audio.wav", 16_000, value), all_of(WAV))


def test_a_wav_that_is_shorter_than_it_says_is_refused():
    assert f"claims {len(WAV)} bytes and has {len(WAV) - 500}" in error_of("audio.wav", 16_000, WAV[:-500])
    assert "claims" in error_of("audio.wav", 16_000, RF64[:-500])


def test_parts_behind_no_data_are_no_sound():
    empty = wav_claiming(WHOLE_RIFF, 0)[: DATA + 8] + b"LIST" + struct.pack("<I", 4) + b"INFO"

    ((_, refusal),) = codec_of("audio.wav", 16_000, seconds=1).decode([empty]).refusals.items()

    assert refusal.reason == "no-frames"


@pytest.mark.parametrize("tags", [(b"", b""), (ID3, b""), (b"", TAG)], ids=["alone", "behind ID3", "before a tag"])
@pytest.mark.parametrize("claimed", [True, False])
def test_a_flac_is_read_to_its_end(claimed, tags):
    wave = noise(16_000)
    value = sound_file(wave, "FLAC", rate=16_000)
    changed = value if claimed else flac_claiming(value, 0)

    np.testing.assert_array_equal(whole("audio.flac", 16_000, tags[0] + changed + tags[1]), all_of(value))


@pytest.mark.parametrize("claimed", [True, False])
def test_a_flac_that_is_cut_in_the_middle_is_refused_whatever_is_decoded_of_it(claimed):
    value = sound_file(noise(16_000), "FLAC", rate=16_000)
    changed = value if claimed else flac_claiming(value, 0)

    error_of("audio.flac", 16_000, changed[: len(value) // 2], seconds=0.1, align="start")


@pytest.mark.parametrize("encoding", ["VORBIS", "OPUS"])
class TestOgg:
    def value(self, encoding):
        return sound_file(noise(16_000), "OGG", rate=16_000, encoding=encoding)

    def test_needs_no_mark_at_its_end(self, encoding):
        value = self.value(encoding)

        np.testing.assert_allclose(whole("audio.ogg", 16_000, without_end(value)), all_of(value), atol=ROUNDED)

    def test_may_have_zeros_behind(self, encoding):
        value = self.value(encoding)

        np.testing.assert_allclose(whole("audio.ogg", 16_000, value + bytes(4096)), all_of(value), atol=ROUNDED)

    @pytest.mark.parametrize("marked", [True, False])
    def test_streams_behind_each_other_are_one_sound(self, encoding, marked):
        one = self.value(encoding)
        other = sound_file(noise(16_000, seconds=0.7), "OGG", rate=16_000, encoding=encoding)
        expected = np.concatenate([all_of(one), all_of(other), all_of(one)])

        chained = (one if marked else without_end(one)) + other + one

        np.testing.assert_allclose(whole("audio.ogg", 16_000, chained), expected, atol=ROUNDED)
        begin = (len(expected) - 16_000) // 2
        found = decoded("audio.ogg", 16_000, chained, seconds=1)
        np.testing.assert_allclose(found, expected[begin : begin + 16_000], atol=ROUNDED)

    def test_streams_of_other_rates_are_refused(self, encoding):
        other = sound_file(noise(8000), "OGG", rate=8000, encoding=encoding)

        assert "goes on with" in error_of("audio.ogg", 16_000, self.value(encoding) + other)

    def test_a_missing_page_is_refused(self, encoding):
        """Else all behind it would be earlier than it was."""
        pages = pages_of(sound_file(noise(16_000, seconds=9), "OGG", rate=16_000, encoding=encoding))
        assert len(pages) > 6

        assert "pages are missing" in error_of("audio.ogg", 16_000, b"".join(pages[:4] + pages[5:]))


class TestMp3:
    value = mp3(noise(16_000), 16_000, "VARIABLE")

    def test_a_cut_last_frame_is_left_out(self):
        last = frames_of_mp3(self.value)[-2]
        expected = all_of(self.value)

        found = whole("audio.mp3", 16_000, self.value[: last + 5])

        assert len(expected) - 576 <= len(found) < len(expected)
        np.testing.assert_allclose(found, expected[: len(found)], atol=ROUNDED)

    def test_one_that_lacks_more_is_refused(self):
        third_last = frames_of_mp3(self.value)[-4]

        assert "MPEG frames and has" in error_of("audio.mp3", 16_000, self.value[:third_last], samples=1000)

    @pytest.mark.parametrize("between", [b"", TAG, ID3, TAG + ID3], ids=["nothing", "ID3v1", "ID3v2", "both"])
    def test_files_behind_each_other_are_one_sound(self, between):
        """The first one's count is not that of all."""
        expected = all_of(self.value)

        found = whole("audio.mp3", 16_000, self.value + between + self.value)

        assert len(found) > 2 * len(expected)
        np.testing.assert_allclose(found[: len(expected)], expected, atol=ROUNDED)

    def test_channels_that_change_are_refused(self):
        stereo = mp3(noise(16_000, channels=2), 16_000, "VARIABLE")

        assert "number of channels changes" in error_of("audio.mp3", 16_000, self.value + stereo, samples=1000)
