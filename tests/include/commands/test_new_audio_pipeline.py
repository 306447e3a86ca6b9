"""`new-pipeline --modality audio`: the file that goes with folders and tables of sounds."""

from __future__ import annotations

import pytest
import torch

from tests.support.command_line import assert_refused, written_pipeline
from tests.support.folders import LocalFolder
from tests.support.sounds import sound_file, tone
from tests.support.tables import table

PITCHES = {"high": 880, "low": 220}
FORMATS = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3"}


@pytest.fixture
def place(tmp_path):
    return LocalFolder(tmp_path / "tones")


def fill(place, *, count=10, ending="wav", seconds=0.5, rate=8000):
    for label, frequency in PITCHES.items():
        sound = sound_file(tone(frequency, seconds=seconds, rate=rate), FORMATS[ending], rate=rate)
        for number in range(count):
            place.write(f"{label}/{number}.{ending}", sound)


def sounds(pipelines, *arguments):
    return written_pipeline(pipelines, "--modality", "audio", *arguments)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_folder_of_sounds_becomes_a_valid_pipeline(pipelines, place, ending):
    fill(place, ending=ending)
    place.write("high/notes.txt")

    pipeline, said = sounds(pipelines, "--path", place.path)

    assert pipeline.format.kind == f"audio.{ending}"
    assert pipeline.training.labels == ("high", "low")
    samples = pipeline.source.open().read(0, 100)
    assert len(samples) == 20
    assert not pipeline.format.decode([sample.content for sample in samples]).refusals
    for expected in ("20 sounds of 2 classes", "0.50 to 0.50 s long, 20 of 8,000 Hz", "1 .txt"):
        assert expected in said


@pytest.mark.parametrize("rate", [1000, 8000, 16_000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("seconds", [0.01, 0.3, 3, 30])
def test_the_network_takes_the_spectrogram_of_any_sound(pipelines, place, rate, seconds):
    fill(place, count=1, rate=rate, seconds=seconds)

    pipeline, _ = sounds(pipelines, "--path", place.path)

    assert pipeline.format.sample_rate == min(rate, 22_050)
    assert pipeline.format.length / pipeline.format.sample_rate == pytest.approx(min(10, max(0.1, seconds)), abs=0.1)
    network = pipeline.model.build(pipeline.format.input_shape, 2)
    assert network(torch.zeros(2, *pipeline.format.input_shape)).shape == (2, 2)


@pytest.mark.parametrize(("seconds", "stride"), [(0.5, 1), (5, 2), (10, 2)])
def test_a_long_sound_costs_little_more_than_a_short_one(pipelines, place, seconds, stride):
    """At 22,050 Hz, 5 s would be 216 frames of half windows, which the first stage would take at full size."""
    fill(place, count=1, rate=44_100, seconds=seconds)

    pipeline, _ = sounds(pipelines, "--path", place.path)

    _, bands, frames = pipeline.format.input_shape
    assert pipeline.model.stride == stride
    assert bands * frames / stride**2 <= 32 * 64


def test_the_commonest_rate_and_the_length_of_most_are_taken(pipelines, place):
    fill(place, count=15, rate=16_000)
    for number, (rate, seconds) in enumerate([(8000, 0.5), (16_000, 60)]):
        place.write(f"low/other-{number}.wav", sound_file(tone(220, seconds=seconds, rate=rate), "WAV", rate=rate))

    pipeline, said = sounds(pipelines, "--path", place.path)

    assert (pipeline.format.sample_rate, pipeline.format.seconds) == (16_000, 0.5)
    assert "0.50 to 60.00 s long, 31 of 16,000 Hz, 1 of 8,000 Hz" in said


def test_a_damaged_sound_is_told(pipelines, place):
    fill(place)
    place.write("low/broken.wav", sound_file(tone(220), "WAV")[:-10])

    _, said = sounds(pipelines, "--path", place.path)

    assert "low/broken.wav" in said


def test_sounds_of_several_formats_are_refused(pipelines, place):
    fill(place, ending="wav")
    fill(place, ending="mp3")

    assert_refused(pipelines, "--modality", "audio", "--path", place.path, names=("20 of .wav", "20 of .mp3"))


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({"high/a.txt": b"left"}, (".txt", ".wav")),
        ({"high/a.wav": b"left", "low/a.wav": b"left"}, ("None of the 2 sounds", "high/a.wav")),
        ({"a.wav": b"left"}, ("'a.wav'", "name of its class")),
        ({"high/a.wav": b"left"}, ("one class only, 'high'",)),
    ],
    ids=["no sounds", "none whole", "no classes", "one class"],
)
def test_what_no_pipeline_could_learn_from_is_refused(pipelines, place, files, names):
    for name, content in files.items():
        place.write(name, content)

    assert_refused(pipelines, "--modality", "audio", "--path", place.path, names=names)


@pytest.mark.parametrize("content_is", ["bytes", "path"])
def test_a_table_of_sounds_becomes_a_valid_pipeline(pipelines, place, content_is):
    files = {f"{label}-{n}": wav(hertz) for n in range(12) for label, hertz in (("low", 220), ("high", 880))}
    rows = [
        {"sound": content if content_is == "bytes" else f"{name}.wav", "pitch": name.partition("-")[0]}
        for name, content in files.items()
    ]
    place.write("t.parquet", table("parquet", rows))
    for name, content in files.items():
        place.write(f"{name}.wav", content)

    pipeline, said = table_of_sounds(pipelines, f"{place.path}/t.parquet", "sound", "pitch")

    assert (pipeline.source.content_is, pipeline.format.kind, pipeline.format.sample_rate) == (
        content_is,
        "audio.wav",
        8000,
    )
    assert pipeline.training.labels == ("high", "low")
    assert not pipeline.format.decode([sample.content for sample in pipeline.source.open().read(0, 24)]).refusals
    assert "24 sounds of 2 classes" in said


@pytest.mark.parametrize(
    ("table_name", "folder", "cell"),
    [
        pytest.param("meta/esc.csv", "audio", "{}.wav", id="a folder beside the table's, as ESC-50 has it"),
        pytest.param("train.csv", "clips", "{}.wav", id="a folder below the table, as Common Voice has it"),
        pytest.param("train.csv", "clips", "clips\\{}.wav", id="backslashes"),
        pytest.param("lists/train.csv", ".", "{}.wav", id="the folder above the table's"),
    ],
)
def test_the_folder_of_the_sounds_is_found(pipelines, place, table_name, folder, cell):
    place.write(table_name, table("csv", [{"path": cell.format(n), "category": "ab"[n % 2]} for n in range(20)]))
    for number in range(20):
        place.write(f"{folder}/{number}.wav", wav(220 + 10 * number))

    pipeline, _ = table_of_sounds(pipelines, f"{place.path}/{table_name}", "path", "category")

    samples = pipeline.source.open().read(0, 20)
    assert [sample.content for sample in samples] == [wav(220 + 10 * number) for number in range(20)]


def test_a_folder_of_the_sounds_may_be_named_and_one_that_is_missing_is_shown(pipelines, place):
    place.write("t.csv", table("csv", [{"path": f"{n}.wav", "category": "ab"[n % 2]} for n in range(20)]))
    for number in range(19):
        place.write(f"far/away/{number}.wav", wav(220))
    columns = ("--source", "table", "--path", f"{place.path}/t.csv", "--content", "path", "--label", "category")

    assert_refused(pipelines, "--modality", "audio", *columns, names=("no sound", "--folder"))
    pipeline, said = sounds(pipelines, *columns, "--folder", f"{place.path}/far/away")

    assert pipeline.source.folder == f"{place.path}/far/away"
    assert "Would be left out of a batch: t.csv:20: File '19.wav' is not in" in said


def wav(hertz):
    return sound_file(tone(hertz, seconds=0.2), "WAV")


def table_of_sounds(pipelines, path, content, label):
    return sounds(pipelines, "--source", "table", "--path", path, "--content", content, "--label", label)
