"""Images under any name and of several file formats: surveyed, and sent in the format of the pipeline's file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from include.__main__ import app
from include.definition.files import load_pipeline
from include.exactly_once.attempt import Attempt
from include.ingest.batch import ingest_batch
from include.kafka.topics import ensure_topics
from tests.support.consumers import committed_records
from tests.support.corpus import saved
from tests.support.folders import LocalFolder
from tests.support.tables import table


def picture(number):
    """Noise, so that each image differs."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 16), np.uint8))


def phone_jpeg(number):
    """A JPEG with a second image, as phones write them for previews and depths."""
    first, second = (picture(seed).convert("RGB").resize((64, 48)) for seed in (number, number + 1000))
    return saved(first, "MPO", save_all=True, append_images=[second])


def ingested(kafka, name, *arguments):
    """The pipeline that `new-pipeline` writes, and its records by key once a batch of it was sent."""
    made = CliRunner().invoke(app, ["new-pipeline", name, *arguments])
    assert made.exit_code == 0, made.output
    pipeline = load_pipeline(name)
    ensure_topics(kafka, pipeline.topic_specs())
    result = ingest_batch(Attempt(kafka, name, "ingest", "run-1"), pipeline, "first", records=100)
    assert result.refused == 0
    topics = (pipeline.samples_topic, pipeline.requests_topic)
    return pipeline, {r.key().decode(): r.value() for topic in topics for r in committed_records(kafka, topic)}


@pytest.mark.parametrize(
    ("formats", "kind"),
    [
        pytest.param(["PNG"], "image.png", id="a .jpg that is a PNG"),
        pytest.param(["JPEG", "JPEG", "JPEG", "PNG"], "image.jpeg", id="some that are others"),
        pytest.param(["BMP"], "image.png", id="a format of no topic"),
        pytest.param(["PNG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "JPEG"], "image.png", id="everything"),
    ],
)
def test_a_folder_is_read_by_content_and_sent_in_one_format(kafka, new_name, tmp_path, monkeypatch, formats, kind):
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    place = LocalFolder(tmp_path / "pictures")
    written = {}
    for number in range(28):
        name = formats[number % len(formats)]
        settings = {"lossless": True} if name == "WEBP" else {}
        written[f"{'ab'[number % 2]}/{number}.jpg"] = name, number
        place.write(f"{'ab'[number % 2]}/{number}.jpg", saved(picture(number), name, **settings))

    pipeline, sent = ingested(kafka, new_name(), "--path", place.path)

    assert pipeline.format.kind == kind
    assert sorted(sent) == sorted(written)
    for key, (name, number) in written.items():
        sample = pipeline.format.decode([sent[key]]).samples[0]
        difference = np.abs(sample.astype(int) - np.asarray(picture(number))).max()
        # Noise is the worst that a JPEG can be given, and its colours come from three channels.
        assert difference <= (60 if "JPEG" in (name, pipeline.format.pillow_format) else 1), (key, name)


def test_phone_jpegs_in_a_table_are_sent_as_in_a_folder(kafka, new_name, tmp_path, monkeypatch):
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    place = LocalFolder(tmp_path / "pictures")
    rows = [{"image": phone_jpeg(number), "label": "ab"[number % 2]} for number in range(20)]
    place.write("m.parquet", table("parquet", rows))
    for number, row in enumerate(rows):
        place.write(f"d/{row['label']}/{number}.jpg", row["image"])

    columns = ("--content", "image", "--label", "label")
    of_table, from_table = ingested(
        kafka, new_name(), "--source", "table", "--path", f"{place.path}/m.parquet", *columns
    )
    of_folder, from_folder = ingested(kafka, new_name(), "--path", f"{place.path}/d")

    assert of_table.format == of_folder.format
    assert of_table.format.kind == "image.jpeg"
    assert sorted(from_table.values()) == sorted(from_folder.values()) == sorted(row["image"] for row in rows)
