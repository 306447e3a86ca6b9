"""One's own data in five minutes: folders and tables of each kind are ingested, trained on and predicted.

The README's own commands are run too, so that it can't promise others.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from include.__main__ import app
from include.definition.files import load_pipeline
from include.definition.pipeline import Pipeline
from include.exactly_once.attempt import Attempt
from include.ingest.batch import ingest_batch
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import ensure_topics
from include.prediction.predictor import Predictor, load_predictor
from include.prediction.publish import publish_predictions
from include.prediction.read import read_predictions
from include.registry.promotion import promote
from include.registry.tracking import open_registry
from include.storage.state import PROJECT_ROOT, state_dir
from include.training.job import TrainingJob
from include.training.loop import train
from include.training.versioned import train_version
from tests.support.corpus import saved
from tests.support.folders import LocalFolder
from tests.support.mlflow_database import put_database
from tests.support.sounds import sound_file, tone
from tests.support.tables import table
from tests.support.tiny_pipelines import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from include.kafka.connection import KafkaConnection

SEED = 5
README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
FLOWERS = re.findall(r"^millrace (new-pipeline flowers .*)$", README, re.MULTILINE)


def stripes(*, across: bool, random: np.random.Generator) -> Image.Image:
    """A noisy picture of stripes that run across or down."""
    pixels = np.broadcast_to(np.arange(16) % 4 < 2, (16, 16)) * 160
    pixels = (pixels.T if across else pixels) + random.integers(0, 90, (16, 16))
    return Image.fromarray(pixels.astype(np.uint8))


def as_people_have_them(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """The picture in some size, in colour, and now and then transparent."""
    width, height = random.integers(16, 48, 2).tolist()
    image = image.resize((width, height)).convert("RGB")
    if random.random() < 0.3:
        image.putalpha(200)
    return image


def write_pictures(place: LocalFolder) -> None:
    """PNG files that are all alike."""
    random = np.random.default_rng(SEED)
    for number in range(300):
        for label in ("across", "down"):
            image = stripes(across=label == "across", random=random)
            place.write(f"{label}/{number}.png", saved(image, "png"), second=number)


def write_any_pictures(place: LocalFolder) -> None:
    """WebP files of any size and colours."""
    random = np.random.default_rng(SEED)
    for number in range(300):
        for label in ("across", "down"):
            image = as_people_have_them(stripes(across=label == "across", random=random), random)
            place.write(f"{label}/{number}.webp", saved(image, "webp"), second=number)


def write_texts(place: LocalFolder) -> None:
    """Reports of one kind of words with numbers among them."""
    random = np.random.default_rng(SEED)
    words = {"kitchen": ["salt", "oven", "stir", "bake", "taste"], "sky": ["cloud", "rain", "wind", "storm", "frost"]}
    for number in range(300):
        for label, own in words.items():
            text = " ".join([*random.choice(own, 3), str(random.integers(1000)), *random.choice(own, 2)])
            place.write(f"{label}/{number}.txt", f"the {text}".encode(), second=number)


def write_table_of_texts(place: LocalFolder) -> None:
    """As Excel writes it in most of Europe, with an author for every six texts."""
    write_texts(place)
    rows = ["id;words;kind;author"]
    for label in ("kitchen", "sky"):
        for number in range(300):
            text = (place.folder / label / f"{number}.txt").read_text()
            rows.append(f"{label}/{number};{text}, café;{label};a{number % 50}")
    place.write("reports.csv", "\n".join(rows).encode("cp1252"), second=0)


def write_table_of_sounds(place: LocalFolder) -> None:
    """Tones in a folder beside that of their table."""
    random = np.random.default_rng(SEED)
    rows = ["id,file,pitch"]
    for number in range(300):
        for label, hertz in (("low", 300), ("high", 900)):
            wave = tone(hertz * random.uniform(0.8, 1.25), seconds=random.uniform(0.2, 0.4), level=0.3)
            noisy = wave + 0.1 * random.standard_normal(len(wave)).astype(np.float32)
            place.write(f"audio/{label}-{number}.wav", sound_file(noisy, "WAV"), second=number)
            rows.append(f"{label}/{number},{label}-{number}.wav,{label}")
    place.write("meta/tones.csv", "\n".join(rows).encode(), second=0)


def write_table_of_pixels(place: LocalFolder) -> None:
    """A column for each pixel, sorted by class."""
    random = np.random.default_rng(SEED)
    rows = [",".join(["id", "direction", *(f"pixel{number}" for number in range(256))])]
    for label in ("across", "down"):
        for number in range(300):
            pixels = np.asarray(stripes(across=label == "across", random=random)).ravel().tolist()
            rows.append(",".join(map(str, [f"{label}/{number}", label, *pixels])))
    place.write("pixels.csv", "\n".join(rows).encode(), second=0)


def write_table_of_images(place: LocalFolder) -> None:
    """Parquet with the files' bytes."""
    random = np.random.default_rng(SEED)
    rows = [
        {"id": f"{label}/{n}", "image": saved(stripes(across=label == "across", random=random), "png"), "kind": label}
        for n in range(300)
        for label in ("across", "down")
    ]
    place.write("images.parquet", table("parquet", rows), second=0)


TABLE = ("--source", "table", "--id", "id")
LONG = pytest.mark.long  # a folder and a table in `make test`, the others beside them


@pytest.mark.parametrize(
    ("write", "path", "arguments", "epochs", "shown"),
    [
        pytest.param(
            write_pictures, "", (), 3, "image of 16x16 pixels, gray", id="pictures that are all alike", marks=LONG
        ),
        pytest.param(write_any_pictures, "", (), 3, "pixels, RGB", id="pictures of any size and colours"),
        pytest.param(write_texts, "", ("--modality", "text"), None, "content the ", id="texts", marks=LONG),
        pytest.param(
            write_table_of_texts,
            "reports.csv",
            ("--modality", "text", *TABLE, "--content", "words", "--label", "kind"),
            None,
            "content the ",
            id="a table of texts",
        ),
        pytest.param(
            write_table_of_sounds,
            "meta/tones.csv",
            ("--modality", "audio", *TABLE, "--content", "file", "--label", "pitch"),
            3,
            "s",
            id="a table of sounds",
            marks=LONG,
        ),
        pytest.param(
            write_table_of_pixels,
            "pixels.csv",
            (*TABLE, "--content", "pixel*", "--label", "direction"),
            3,
            "uint8",
            id="a table of pixels",
            marks=LONG,
        ),
        pytest.param(
            write_table_of_images,
            "images.parquet",
            (*TABLE, "--content", "image", "--label", "kind"),
            3,
            "image of 16x16 pixels, gray",
            id="a table of images",
            marks=LONG,
        ),
    ],
)
def test_one_s_own_data_become_predictions(
    kafka: KafkaConnection,
    write: Callable[[LocalFolder], None],
    path: str,
    arguments: tuple[str, ...],
    epochs: int | None,
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    new_name: Callable[[], str],
) -> None:
    place = LocalFolder(tmp_path / "samples")
    write(place)
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    name = new_name()
    made = CliRunner().invoke(app, ["new-pipeline", name, "--path", str(place.folder / path), *arguments])
    assert made.exit_code == 0, made.output
    pipeline = load_pipeline(name)
    assert isinstance(pipeline, Pipeline)

    ensure_topics(kafka, pipeline.topic_specs())
    ingested = ingest_batch(
        Attempt(kafka, pipeline.name, "ingest", "run-1"), pipeline, "first", records=pipeline.ingest.records
    )
    assert ingested.samples + ingested.requests == 600
    assert ingested.samples >= pipeline.training.min_new_samples

    job = TrainingJob.of(pipeline, freeze_ranges(kafka, pipeline.samples_topic), epochs=epochs)
    trained = train(job.model_copy(update={"threads": 1}), kafka, tmp_path / "run", cache_bytes=2**30)
    accuracy = trained.history[-1]["held_out_accuracy"]
    assert accuracy > pipeline.promotion.floor, f"seed {SEED}: held-out accuracy {accuracy:.4f}"

    predictor = Predictor(trained.network, job.target(), IDENTITY)
    requests = freeze_ranges(kafka, pipeline.requests_topic)
    published = publish_predictions(Attempt(kafka, pipeline.name, "predict", "run-1"), pipeline, requests, predictor)
    assert published.rejected == 0
    predicted = read_predictions(kafka, pipeline)
    assert len(predicted) == ingested.requests > 20
    assert (predicted["label"] == predicted["id"].str.partition("/")[0]).mean() > pipeline.promotion.floor

    peeked = CliRunner().invoke(
        app, ["peek", name, "--topic", "requests", "--bootstrap-servers", kafka.bootstrap_servers]
    )
    assert peeked.exit_code == 0, peeked.output
    assert shown in " ".join(peeked.output.split())


@pytest.fixture
def flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data that the README speaks of, in `~/flowers` and in `flowers.csv`, and an empty folder of pipelines."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path / "pipelines"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").mkdir()
    place, random = LocalFolder(tmp_path / "flowers"), np.random.default_rng(SEED)
    rows = ["image,kind"]
    for number in range(300):
        for label in ("rose", "tulip"):
            name = f"{label}/{number}.png"
            place.write(name, saved(stripes(across=label == "rose", random=random), "png"), second=number)
            rows.append(f"flowers/{name},{label}")
    LocalFolder(tmp_path).write("flowers.csv", "\n".join(rows).encode(), second=0)
    return tmp_path


def made_by(command: str) -> Pipeline:
    made = CliRunner().invoke(app, shlex.split(command))
    assert made.exit_code == 0, made.output
    return load_pipeline("flowers")


@pytest.mark.parametrize("command", FLOWERS)
def test_each_of_the_readme_s_commands_makes_a_pipeline_of_all_its_data(flowers: Path, command: str) -> None:
    source = made_by(command).source
    assert source is not None
    assert source.open().count() == 600


@pytest.mark.long
def test_the_readme_s_first_command_leads_to_a_champion_that_predicts(kafka: KafkaConnection, flowers: Path) -> None:
    pipeline = made_by(FLOWERS[0])
    ensure_topics(kafka, pipeline.topic_specs())
    put_database(state_dir())
    ingested = ingest_batch(
        Attempt(kafka, pipeline.name, "ingest", "run-1"), pipeline, "first", records=pipeline.ingest.records
    )
    job = TrainingJob.of(pipeline, freeze_ranges(kafka, pipeline.samples_topic))
    trained = train_version(job.model_copy(update={"threads": 1}), kafka, run="run-1")
    decision = promote(kafka, open_registry(), pipeline.name, trained.version.number, pipeline.promotion)
    assert decision.promoted, decision.reason

    predictor = load_predictor(kafka, pipeline, "champion")
    published = publish_predictions(
        Attempt(kafka, pipeline.name, "predict", "run-1"),
        pipeline,
        freeze_ranges(kafka, pipeline.requests_topic),
        predictor,
    )
    assert (published.predictions, published.rejected) == (ingested.requests, 0)
    predicted = read_predictions(kafka, pipeline)
    assert (predicted["label"] == predicted["id"].str.partition("/")[0]).mean() > pipeline.promotion.floor
