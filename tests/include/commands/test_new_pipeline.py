"""`new-pipeline` looks at data and writes a file that is valid, or says in one sentence why none can be."""

from __future__ import annotations

import base64
import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from include.codecs import record_values
from include.codecs.png import PngCodec
from include.commands.new_pipeline import _say_what_is_next
from include.commands.pipeline_file import pipeline_text
from include.commands.survey import Survey, spread_over_folders, within_bytes
from include.definition.schema import SCHEMA_FILE
from include.sources import File
from include.training.job import TrainingJob
from tests.support.command_line import assert_refused, run_new_pipeline, written_pipeline
from tests.support.corpus import saved, slope
from tests.support.folders import LocalFolder, MemoryFolder
from tests.support.small_disk import small_disk
from tests.support.tables import ENDINGS, table


@pytest.fixture
def place(tmp_path):
    return LocalFolder(tmp_path / "flowers")


def png(mode="RGB", width=16, height=12):
    return saved(slope("RGB", width, height).convert(mode), "PNG")


def fill(place, names=("rose", "tulip"), count=20, content=None, ending="png"):
    for label in names:
        for number in range(count):
            place.write(f"{label}/{number}.{ending}", content or png())


def test_a_folder_becomes_a_valid_pipeline(pipelines, place):
    fill(place)
    place.write("rose/notes.txt")
    pipeline, said = written_pipeline(pipelines, "--source", "folder", "--path", place.path)
    assert pipeline.format.model_dump(exclude_none=True) == {
        "kind": "image.png",
        "height": 12,
        "width": 16,
        "channels": 3,
    }
    assert pipeline.training.labels == ("rose", "tulip")
    assert pipeline.source.open().count() == 40
    for expected in ("40 images of 2 classes", "16x12", "1 .txt", "flowers.ingest", "peek flowers"):
        assert expected in said


def test_a_path_is_told_from_where_the_command_runs(pipelines, place, monkeypatch):
    fill(place)
    monkeypatch.chdir(place.folder.parent)
    pipeline, _ = written_pipeline(pipelines, "--path", "flowers")
    assert pipeline.source.path == place.path


def test_a_folder_in_an_object_storage(pipelines):
    place = MemoryFolder()
    fill(place)
    pipeline, _ = written_pipeline(pipelines, "--path", place.path)
    assert pipeline.source.open().count() == 40


@pytest.mark.parametrize("full", ["the pipelines folder", "the folder for temporary files"])
def test_a_full_disk_leaves_no_file_and_is_named(tmp_path, place, monkeypatch, full):
    fill(place)
    with small_disk(tmp_path / "small") as disk:
        pipelines = tmp_path / "pipelines"
        if full == "the pipelines folder":
            pipelines = disk.path / "pipelines"
        else:
            monkeypatch.setattr(tempfile, "tempdir", str(disk.path))
        pipelines.mkdir()
        monkeypatch.setenv("MILLRACE_PIPELINES", str(pipelines))
        disk.leave(0)
        assert_refused(pipelines, "--path", place.path, names=("no room for", str(disk.path), "flowers.toml"))

        disk.release()
        written_pipeline(pipelines, "--path", place.path)


@pytest.mark.parametrize(
    ("number", "names"),
    [(errno.EIO, ("Input/output error", "correct that")), (errno.EACCES, ("Permission denied", "the right"))],
)
def test_a_file_that_cannot_be_written_is_not_left_behind(pipelines, place, monkeypatch, number, names):
    def fail(_):
        raise OSError(number, os.strerror(number))

    fill(place)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        assert_refused(pipelines, "--path", place.path, names=(str(pipelines / "flowers.toml"), *names))
    written_pipeline(pipelines, "--path", place.path)


def test_the_first_line_names_the_schema_for_editors(pipelines, place, monkeypatch):
    fill(place)
    written_pipeline(pipelines, "--path", place.path)
    first = (pipelines / "flowers.toml").read_text().splitlines()[0]
    assert (pipelines / first.removeprefix("#:schema ")).resolve() == SCHEMA_FILE

    monkeypatch.setattr("include.commands.new_pipeline.SCHEMA_FILE", pipelines / "pipeline.schema.json")
    written_pipeline(pipelines, "--path", place.path, name="flowers_2")
    assert (pipelines / "flowers_2.toml").read_text().startswith("#:schema ./pipeline.schema.json\n")


def test_only_the_path_of_the_file_goes_to_standard_output(pipelines, place):
    fill(place)
    ran = run_new_pipeline("flowers", "--path", place.path)
    assert ran.stdout == f"{pipelines / 'flowers.toml'}\n"


@pytest.mark.parametrize(("width", "height", "shift"), [(2, 3, 1), (8, 8, 1), (28, 28, 2), (300, 2, 1), (224, 224, 16)])
def test_the_network_and_the_augmentation_take_the_images(pipelines, place, width, height, shift):
    import torch

    fill(place, content=png("L", width, height), count=1)
    pipeline, _ = written_pipeline(pipelines, "--path", place.path)
    network = pipeline.model.build(pipeline.format.sample_shape, 2)
    assert network(torch.zeros(1, 1, height, width)).shape == (1, 2)
    assert sum(parameter.numel() for parameter in network.parameters()) < 5_000_000
    [augmentation] = pipeline.training.augment
    assert (augmentation.kind, augmentation.pixels) == ("image.shift", shift)


def test_images_too_small_for_the_network_are_refused(pipelines, place):
    fill(place, content=png(width=1), count=1)
    assert_refused(pipelines, "--path", place.path, names=("1x12", "2x2"))


def test_the_limits_follow_the_data(pipelines, place):
    fill(place, ("common",), 30, content=png())
    fill(place, ("rare",), 10)
    pipeline, _ = written_pipeline(pipelines, "--path", place.path)
    assert pipeline.promotion.floor > 30 / 40
    assert pipeline.training.min_new_samples <= 20
    assert pipeline.training.batch_size <= 8


@pytest.mark.parametrize(
    ("samples", "records", "said"),
    [
        (40, 1000, "all 40 samples"),
        (4000, 4000, "all 4,000 samples"),
        (25_000, 10_000, "the first 10,000 of 25,000 samples"),
    ],
)
def test_a_first_batch_has_all_samples_or_ten_thousand(capsys, samples, records, said):
    codec = PngCodec(height=8, width=8)
    found = Survey("image", {"kind": "folder"}, codec, "", {"a": samples - 10, "b": 10}, 100, 10)
    assert f"records = {records}\n" in pipeline_text(found, "x")

    _say_what_is_next("flowers", Path("flowers.toml"), found)

    printed = " ".join(capsys.readouterr().err.split())
    assert said in printed
    assert ("15,000 come in 2 more batches" in printed) == (samples == 25_000)


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("above", ["train/{}/1", "train/{}/2", "test/{}/1"]),
        ("above", ["Training/{}/1", "DEV/{}/1", "eval/{}/2"]),
        ("below", ["{}/train/1", "{}/val/1"]),
    ],
)
def test_a_given_split_is_used_and_its_folders_are_no_classes(pipelines, place, split, names):
    for name in names:
        for label in ("cat", "dog"):
            place.write(f"{name.format(label)}.png", png())

    pipeline, said = written_pipeline(pipelines, "--path", place.path)

    assert pipeline.training.labels == ("cat", "dog")
    assert (pipeline.source.split, pipeline.training.split) == (split, "given")
    assert "hold out val and test" in " ".join(said.split())
    assert TrainingJob.of(pipeline, []).manifest.to_dict()["split"]["given"]


@pytest.mark.parametrize("names", [("train_images", "test_images"), ("seg_train/seg_train", "seg_test/seg_test")])
def test_folders_whose_names_contain_those_of_a_split_are_no_classes(pipelines, place, names):
    for name in names:
        for label in ("cat", "dog"):
            place.write(f"{name}/{label}/1.png", png())

    first = [name.partition("/")[0] for name in names]
    assert_refused(pipelines, "--path", place.path, names=(*map(repr, first), "split", "rename"))


@pytest.mark.parametrize("inner", ["{}", "train/{}"])
def test_one_folder_around_those_of_the_classes_is_no_class(pipelines, place, inner):
    for label in ("cat", "dog"):
        place.write(f"pets/{inner.format(label)}/1.png", png())

    assert_refused(pipelines, "--path", place.path, names=("'pets'", "--path"))


def test_one_side_alone_is_no_split_and_files_without_a_class_are_counted(pipelines, place):
    """As competitions publish them: the classes of the test images are not published."""
    for label in ("cat", "dog"):
        place.write(f"train/{label}/1.png", png())
    for number in range(3):
        place.write(f"test/{number}.png", png())

    pipeline, said = written_pipeline(pipelines, "--path", place.path)

    assert pipeline.training.labels == ("cat", "dog")
    assert (pipeline.source.split, pipeline.training.split) == ("above", "hash")
    assert "3 images of the split lie in no class's folder" in " ".join(said.split())
    assert pipeline.source.count() == 2


def test_a_split_beside_other_folders_is_refused(pipelines, place):
    for name in ("train/cat", "train/dog", "test/cat", "unlabelled/x"):
        place.write(f"{name}/1.png", png())
    assert_refused(pipelines, "--path", place.path, names=("'test', 'train'", "'unlabelled'"))


def test_the_opened_images_are_of_every_folder(place, monkeypatch):
    monkeypatch.setattr("include.commands.survey.LOOKED_AT", 10)
    files = [File(0.0, f"{label}/{number:03}", 1) for label, count in (("a", 100), ("b", 2)) for number in range(count)]
    opened = [file.name for file in spread_over_folders(files)]
    assert [name for name in opened if name.startswith("b")] == ["b/000", "b/001"]
    assert [name for name in opened if name.startswith("a")] == [f"a/{int(place * 12.5):03}" for place in range(8)]


def test_a_window_of_large_files_is_small(pipelines, place, monkeypatch):
    monkeypatch.setattr("include.commands.training_length.WINDOW_BYTES", 1000)
    fill(place, count=50)
    pipeline, _ = written_pipeline(pipelines, "--path", place.path)
    assert pipeline.training.window == 2 * pipeline.training.batch_size < 100


def test_a_large_image_fits_its_topic(pipelines, place):
    fill(place, content=saved(Image.effect_noise((1100, 1000), 90).convert("RGB"), "PNG"), count=1)
    pipeline, _ = written_pipeline(pipelines, "--path", place.path)
    largest = max(file.size for file in pipeline.source.open().files())
    assert pipeline.topics.max_record_bytes > largest > 1024 * 1024


@pytest.mark.parametrize("label", ['"quoted"\\', "naïve 花", "tab\tand\x7f", "#[x]"])
def test_any_class_name_is_written_as_it_is(pipelines, place, label):
    fill(place, (label, "other"), 1)
    pipeline, _ = written_pipeline(pipelines, "--path", place.path)
    assert set(pipeline.training.labels) == {label, "other"}


def test_images_that_are_not_whole_are_told(pipelines, place):
    fill(place)
    place.write("rose/broken.png", png()[:-20])
    place.write("rose/page.png", b"<!DOCTYPE html>")
    _, said = written_pipeline(pipelines, "--path", place.path)
    assert "rose/broken.png: " in said
    assert "rose/page.png: " in said


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("content_is", ["base64", "path"])
def test_a_table_of_images(pipelines, place, ending, content_is):
    def cell(number):
        return f"images/{number}.png" if content_is == "path" else base64.b64encode(png("L")).decode()

    for number in range(8):
        place.write(f"images/{number}.png", png("L"))
    rows = [{"key": f"k{n}", "picture": cell(n), "kind": "ab"[n % 2]} for n in range(8)]
    place.write(f"table.{ending}", table(ending, rows))
    columns = ("--content", "picture", "--label", "kind", "--id", "key")
    pipeline, _ = written_pipeline(pipelines, "--source", "table", "--path", f"{place.path}/table.{ending}", *columns)
    samples = pipeline.source.open().read(0, 8)
    assert pipeline.source.content_is == content_is
    assert [sample.id for sample in samples] == [row["key"] for row in rows]
    assert not pipeline.format.decode([sample.content for sample in samples]).refusals


def test_a_class_of_another_size_and_colours_behind_the_first_rows_counts(pipelines, place):
    first, second = png("L", 8, 8), png("RGB", 12, 12)
    rows = [{"picture": first if number < 600 else second, "kind": "ab"[number // 600]} for number in range(900)]
    place.write("table.parquet", table("parquet", rows))
    arguments = ("--source", "table", "--path", place.path, "--content", "picture", "--label", "kind")
    pipeline, said = written_pipeline(pipelines, *arguments)

    assert (pipeline.format.channels, pipeline.format.resize, pipeline.format.colours) == (3, "crop", "convert")
    assert not pipeline.format.decode([first, second]).refusals
    assert "sorted by class" in said


def test_a_parquet_table_of_bytes_with_rows_without_label(pipelines, place):
    rows = [{"picture": png("L"), "kind": kind} for kind in ("a", "b", None)]
    place.write("table.parquet", table("parquet", rows))
    arguments = (
        "--source",
        "table",
        "--path",
        f"{place.path}/table.parquet",
        "--content",
        "picture",
        "--label",
        "kind",
    )
    pipeline, said = written_pipeline(pipelines, *arguments)
    assert pipeline.source.content_is == "bytes"
    assert "1 row has no label" in said


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_whose_columns_are_not_named_tells_them(pipelines, place, ending):
    place.write(f"t.{ending}", table(ending, [{"picture": "x", "kind": "y"}]))
    path = f"{place.path}/t.{ending}"
    assert_refused(pipelines, "--source", "table", "--path", path, names=("'picture', 'kind'", "--content", "--label"))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"[1", b"PAR"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_that_tells_no_columns_is_refused_all_the_same(pipelines, place, ending, content):
    place.write(f"t.{ending}", content)
    assert_refused(pipelines, "--source", "table", "--path", f"{place.path}/t.{ending}", names=("--content", "--label"))


def test_a_table_without_the_column_or_without_images_is_refused(pipelines, place):
    place.write("t.csv", table("csv", [{"text": "good", "kind": "a"}, {"text": "bad", "kind": "b"}]))
    arguments = ("--source", "table", "--path", f"{place.path}/t.csv", "--label", "kind", "--content")
    assert_refused(pipelines, *arguments, "picture", names=("'picture'", "'text', 'kind'"))
    assert_refused(pipelines, *arguments, "text", names=("'text'", "no image"))


@pytest.mark.parametrize("name", ["Flowers", "9lives", "a.b", "../up", "a" * 64])
def test_an_invalid_name_is_refused(pipelines, place, name):
    fill(place)
    assert_refused(pipelines, "--path", place.path, names=(name,), name=name)


def test_a_file_that_is_there_is_never_overwritten(pipelines, place):
    fill(place)
    (pipelines / "flowers.toml").write_text("mine")
    assert_refused(pipelines, "--path", place.path, names=("flowers.toml", "another name"))
    assert (pipelines / "flowers.toml").read_text() == "mine"


def test_a_pipelines_folder_that_is_not_there_is_refused(pipelines, place):
    pipelines.rmdir()
    assert_refused(pipelines, "--path", place.path, names=(pipelines, "MILLRACE_PIPELINES"))


def test_a_modality_without_a_network_is_refused(pipelines, place):
    assert_refused(pipelines, "--path", place.path, "--modality", "array", names=("array", "convnet", "include/models"))


def test_data_that_no_pipeline_could_learn_from_are_refused(pipelines, place, tmp_path):
    path = ("--path", place.path)
    assert_refused(pipelines, *path, names=(place.path, "does not exist"))
    place.folder.mkdir()
    assert_refused(pipelines, *path, names=(place.path, "holds no file"))
    place.write("rose/a.txt")
    assert_refused(pipelines, *path, names=("no image", "1 of .txt", "'rose/a.txt'"))
    place.write("rose/a.png", png())
    assert_refused(pipelines, *path, names=("'rose'", "add another class"))
    place.write("b.png", png())
    assert_refused(pipelines, *path, names=("'b.png'", "name of its class"))
    place.remove("b.png")
    assert_refused(pipelines, "--path", f"{place.path}/rose/a.png", names=("--source table",))
    assert_refused(pipelines, *path, "--label", "kind", names=("--label", "--source table"))


def test_images_of_several_file_formats_are_sent_as_that_of_most(pipelines, place):
    fill(place, ("rose",), content=saved(slope("RGB", 16, 12), "JPEG"), ending="jpg")
    fill(place, ("tulip",), 5, ending="png")
    pipeline, said = written_pipeline(pipelines, "--path", place.path)
    assert pipeline.format.kind == "image.jpeg"
    assert sorted(pipeline.source.suffixes) == [".jpg", ".png"]
    assert (
        "20 of JPEG, 5 of PNG: images of another format than JPEG are converted to it as they are sent, at quality 95"
        in said
    )
    assert "kind = 'image.png' would convert all without loss" in said


def test_what_files_are_is_seen_in_them_and_not_in_their_names(pipelines, place):
    fill(place, content=saved(slope("L", 16, 12).convert("P"), "GIF"), ending="happy")
    place.write("rose/list.txt")
    pipeline, said = written_pipeline(pipelines, "--path", place.path)
    assert (pipeline.format.kind, pipeline.format.channels) == ("image.png", 1)
    assert pipeline.source.suffixes == (".happy",)
    assert "40 of GIF: images of another format than PNG are converted to it as they are sent, without loss" in said
    assert "1 .txt" in said


@pytest.mark.parametrize("name", ["{}/{}", "{}/{}.x{}"], ids=["no ending", "an ending each"])
def test_images_without_a_common_ending_are_found(pipelines, place, name):
    for label in ("rose", "tulip"):
        for number in range(30):
            place.write(name.format(label, number, number), png())
    pipeline, _ = written_pipeline(pipelines, "--path", place.path)
    assert pipeline.source.suffixes == ()
    assert pipeline.source.open().count() == 60


def test_an_opened_part_of_large_files_is_spread_over_all(monkeypatch):
    files = [File(0.0, f"{number:03}.png", 100) for number in range(100)]
    assert within_bytes(files) == files
    monkeypatch.setattr("include.commands.survey.OPENED_BYTES", 2000)
    assert [file.name for file in within_bytes(files)] == [f"{number:03}.png" for number in range(0, 100, 5)]
    monkeypatch.setattr("include.commands.survey.OPENED_BYTES", 100)
    assert len(within_bytes(files)) == 8


def test_images_of_several_sizes_are_resized(pipelines, place):
    fill(place)
    fill(place, ("wide",), 7, content=png(width=32))
    pipeline, said = written_pipeline(pipelines, "--path", place.path)
    assert (pipeline.format.width, pipeline.format.height, pipeline.format.resize) == (12, 12, "crop")
    assert "2 sizes, 40 of 16x12, 7 of 32x12: the file says to resize and crop them to 12x12" in said
    takes_all(pipeline)


def test_photographs_are_resized_to_what_networks_take(pipelines, place):
    sideways = Image.Exif()
    sideways[0x0112] = 6
    fill(place, ("cat",), 2, saved(slope("RGB", 1200, 900), "JPEG"), "jpg")
    fill(place, ("dog",), 2, saved(slope("RGB", 1200, 900), "JPEG", exif=sideways), "jpg")
    pipeline, said = written_pipeline(pipelines, "--path", place.path)
    assert pipeline.format.model_dump(exclude_none=True) == {
        "kind": "image.jpeg",
        "height": 224,
        "width": 224,
        "channels": 3,
        "resize": "crop",
    }
    assert "2 of 1200x900, 2 of 900x1200" in said
    takes_all(pipeline)


def test_large_images_of_one_size_are_resized_too(pipelines, place):
    fill(place, content=png(width=800, height=600), count=1)
    pipeline, said = written_pipeline(pipelines, "--path", place.path)
    assert (pipeline.format.width, pipeline.format.resize) == (224, "crop")
    assert "800x600 pixels, which makes training slow" in said


@pytest.mark.parametrize(
    ("modes", "channels", "expected"),
    [
        (("RGB", "L"), 3, "20 of RGB, 20 of L: the file says to convert them to RGB"),
        (("RGBA", "RGBA"), 3, "40 of RGBA"),
        (("P", "RGB"), 3, "20 of P, 20 of RGB"),
        (("L", "LA"), 1, "20 of L, 20 of LA: the file says to convert them to gray"),
    ],
)
def test_images_of_several_modes_are_converted(pipelines, place, modes, channels, expected):
    for label, mode in zip(("rose", "tulip"), modes, strict=True):
        fill(place, (label,), content=png(mode))
    pipeline, said = written_pipeline(pipelines, "--path", place.path)
    assert (pipeline.format.channels, pipeline.format.colours, pipeline.format.resize) == (channels, "convert", None)
    assert expected in said
    takes_all(pipeline)


def test_a_folder_of_webp(pipelines, place):
    fill(place, ("rose",), content=saved(slope("RGB", 16, 12), "WEBP"), ending="webp")
    fill(place, ("tulip",), content=saved(slope("RGB", 16, 12), "WEBP", lossless=True), ending="webp")
    frames = {"save_all": True, "append_images": [slope("RGB", 16, 12).rotate(180)]}
    place.write("tulip/moving.webp", saved(slope("RGB", 16, 12), "WEBP", **frames))
    pipeline, said = written_pipeline(pipelines, "--path", place.path)
    assert pipeline.format.model_dump(exclude_none=True) == {
        "kind": "image.webp",
        "height": 12,
        "width": 16,
        "channels": 3,
    }
    assert "tulip/moving.webp: The WebP image is animated" in said


def takes_all(pipeline):
    source = pipeline.source.open()
    samples = source.read(0, source.count())
    assert pipeline.format.decode([sample.content for sample in samples]).refusals == {}


def test_images_none_of_which_is_whole_are_refused(pipelines, place):
    fill(place, content=png()[:-20])
    assert_refused(pipelines, "--path", place.path, names=("None of the 40 images", "cut short"))


@pytest.mark.parametrize("source", ["folder", "table"])
def test_a_storage_behind_a_connection_is_refused_with_the_way_to_go(pipelines, source):
    path = "s3://bucket/pictures"
    columns = ("--content", "picture", "--label", "kind") if source == "table" else ()
    assert_refused(pipelines, "--source", source, "--path", path, *columns, names=(path, "connection", "[source]"))


@pytest.mark.parametrize(("most", "bits"), [(255, 8), (1000, 10), (4095, 12), (16_383, 14), (65_535, 16)])
def test_the_bits_of_16_bit_images_are_found(pipelines, place, most, bits):
    values = np.linspace(0, most, 16 * 12).astype(np.uint16).reshape(12, 16)
    fill(place, ("rose",), content=saved(Image.fromarray(values // 2), "PNG"))
    fill(place, ("tulip",), content=saved(Image.fromarray(values), "TIFF"), count=19, ending="tif")
    pipeline, said = written_pipeline(pipelines, "--path", place.path)
    assert (pipeline.format.channels, pipeline.format.bits, pipeline.format.colours) == (1, bits, None)
    assert f"39 images have 16 bits a channel and values up to {most}: the file says bits = {bits}" in said
    samples = pipeline.source.open().read(0, 39)
    decoded = pipeline.format.decode(record_values(pipeline.format, [s.content for s in samples]))
    assert decoded.samples.max() == most >> (bits - 8)


def test_photographs_of_24_megapixels_become_a_pipeline(pipelines, place):
    fill(place, content=saved(Image.linear_gradient("L").resize((5712, 4284)), "JPEG"), count=2, ending="jpg")
    pipeline, said = written_pipeline(pipelines, "--path", place.path)
    assert (pipeline.format.width, pipeline.format.resize) == (224, "crop")
    assert "5712x4284 pixels, which makes training slow" in said
    takes_all(pipeline)
