"""A pipeline's file is valid, or refused with each fault's key, value and what is allowed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from include.codecs.png import PngCodec
from include.definition.files import (
    PIPELINES,
    InvalidPipeline,
    UnknownPipeline,
    load_pipeline,
    load_pipelines,
    read_pipeline,
)
from include.definition.pipeline import Pipeline
from include.models.convnet import ConvNet
from include.sources.digits import DigitsSource
from include.storage.state import PROJECT_ROOT
from tests.support.assertions import assert_readable

VALID = """
description = "Which shoe is it?"

[topics]
partitions = 2

[format]
kind = "image.png"
height = 28
width = 28

[source]
kind = "digits"

[ingest]
records = 100

[model]
kind = "convnet"
channels = [8]

[training]
labels = ["left", "right"]
epochs = 3

[promotion]
floor = 0.5

[prediction]
chunk_samples = 50
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    return tmp_path


def faults_of(path):
    loaded = read_pipeline(path)
    assert isinstance(loaded, InvalidPipeline), f"{path.read_text()} is valid"
    assert str(loaded).startswith(f"{path.name}:\n  - ")
    return loaded.faults


def test_a_file_is_a_pipeline_of_its_name(folder):
    (folder / "shoes.toml").write_text(VALID)

    pipeline = load_pipeline("shoes")

    assert (pipeline.name, pipeline.topics.partitions, pipeline.training.labels) == ("shoes", 2, ("left", "right"))
    assert pipeline.format == PngCodec(height=28, width=28)
    assert pipeline.source == DigitsSource()
    assert pipeline.model == ConvNet(channels=(8,))


def test_a_key_that_is_left_out_has_a_default(folder):
    (folder / "shoes.toml").write_text(VALID)

    pipeline = load_pipeline("shoes")

    assert (pipeline.connection, pipeline.owner, pipeline.ingest.schedule) == ("kafka_default", "millrace", "0 * * * *")


@pytest.mark.parametrize(("table", "signed"), [("", False), ('[signing]\nconnection = "keys"', True)])
def test_records_are_signed_where_the_file_names_a_connection(folder, table, signed):
    (folder / "shoes.toml").write_text(VALID + table)

    assert load_pipeline("shoes").signed is signed


@pytest.mark.parametrize("path", sorted(PIPELINES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_bundled_file_is_valid(path):
    assert isinstance(read_pipeline(path), Pipeline)


@pytest.mark.parametrize(
    ("replaced", "by", "expected"),
    [
        ("partitions = 2", "partitions = 0", ["topics.partitions = 0", "greater than or equal to 1"]),
        ("partitions = 2", "partitions = 'two'", ["topics.partitions = 'two'", "valid integer"]),
        ("partitions = 2", "partition = 2", ["topics.partition = 2", "no such key", "spelling"]),
        ("height = 28", "height = 0", ["format.height = 0", "greater than or equal to 1"]),
        ("height = 28", "", ["format.height", "required"]),
        ("height = 28", "height = 28\nshape = [4]", ["format.shape = [4]", "no such key"]),
        ('"image.png"', '"image.gif"', ["format.kind = 'image.gif'", "image.png", "tensor.raw"]),
        ('kind = "image.png"', "", ["format.kind", "required", "image.png", "tensor.raw"]),
        ('kind = "digits"', 'kind = "magic"', ["source.kind = 'magic'", "digits, folder"]),
        ('kind = "digits"', 'kind = "folder"', ["source.path", "required"]),
        ('kind = "digits"', "", ["source.kind", "required", "digits"]),
        ('kind = "convnet"', 'kind = "resnet"', ["model.kind = 'resnet'", "the kinds are convnet", "module:name"]),
        (
            'kind = "convnet"',
            'kind = "my-shoes:build"',
            ["model.kind = 'my-shoes:build'", "my_package.my_module:build"],
        ),
        ('kind = "convnet"', 'kind = "my.shoes:build"\nsince = 2026-01-01', ["model: since = 2026-01-01", "in quotes"]),
        ('"left", "right"]', '"left"]\ntask = "magic"', ["training.task = 'magic'", "multi-label"]),
        ("epochs = 3", 'loss = "huber"', ["training.loss = 'huber'", "regression"]),
        ("epochs = 3", "incremental = true", ["training.incremental = True", 'start_from = "champion"']),
        ("epochs = 3", "replay_share = 0.1", ["training.replay_share = 0.1", "incremental = true"]),
        ("epochs = 3", 'start_from = "newest"', ["training.start_from = 'newest'", "champion", "other_pipeline/3"]),
        ("floor = 0.5", 'earlier_models = ["convnet"]', ["promotion.earlier_models.0 = 'convnet'", ":build"]),
        ("channels = [8]", "channels = []", ["model.channels = []", "at least 1 item"]),
        ("channels = [8]", "channels = [8, 0]", ["model.channels.1 = 0", "greater than or equal to 1"]),
        ("records = 100", "records = 0", ["ingest.records = 0", "greater than or equal to 1"]),
        ("records = 100", "requests_share = 1.5", ["ingest.requests_share = 1.5", "less than or equal to 1"]),
        ("records = 100", "schedule = 'hourly'", ["ingest.schedule = 'hourly'", "five fields", "0 * * * *"]),
        ("records = 100", "schedule = '61 * * * *'", ["ingest.schedule = '61 * * * *'", "five fields"]),
        ('"left", "right"', '"left"', ["training.labels = ['left']", "at least 2 items"]),
        ('"left", "right"', '"left", "left"', ["training.labels", "label 'left' is named twice"]),
        ("epochs = 3", "epochs = 0", ["training.epochs = 0", "greater than or equal to 1"]),
        ("epochs = 3", "epochs = 1.5", ["training.epochs = 1.5", "valid integer"]),
        ("epochs = 3", "learning_rate = 0", ["training.learning_rate = 0", "greater than 0"]),
        ("epochs = 3", "learning_rate = nan", ["training.learning_rate = nan"]),
        ("epochs = 3", "held_out = 1.0", ["training.held_out = 1.0", "less than 1"]),
        ("epochs = 3", "[[training.augment]]\nkind = 'magic'", ["training.augment.0.kind = 'magic'", "image.shift"]),
        ("epochs = 3", "[[training.augment]]\nkind = 'image.shift'", ["training.augment.0.pixels", "required"]),
        ("epochs = 3", "[[training.augment]]\nkind = 'image.flip'\nshare = 2", ["training.augment.0.share = 2"]),
        (
            "epochs = 3",
            "[[training.augment]]\nkind = 'image.shift'\npixels = 28",
            ["training.augment.0: ", "image.shift by 28 pixels", "(28, 28)", "out of the frame"],
        ),
        ("height = 28", "height = 28\nmean = [0.5]", ["format: ", "mean and std belong together"]),
        ("height = 28", "height = 28\nmean = [1, 1]\nstd = [1]", ["format.mean = [1, 1]", "2 numbers for 1 channels"]),
        ("height = 28", "height = 28\nresize = 'fit'", ["format.resize = 'fit'", "'stretch', 'crop' or 'pad'"]),
        ("epochs = 3", "seed = -1", ["training.seed = -1", "greater than or equal to 0"]),
        ("floor = 0.5", "floor = 50", ["promotion.floor = 50", "less than or equal to 1"]),
        ("chunk_samples = 50", "chunk_samples = 0", ["prediction.chunk_samples = 0", "greater than or equal to 1"]),
        ("chunk_samples = 50", 'carry = ["model"]', ["prediction.carry", "names the model"]),
        ("chunk_samples = 50", "tasks = 65", ["prediction.tasks = 65", "less than or equal to 64"]),
        ("chunk_samples = 50", "max_replays = 0", ["prediction.max_replays = 0", "greater than or equal to 1"]),
        ("chunk_samples = 50", "[signing]", ["signing.connection", "required"]),
        ("chunk_samples = 50", "[signing]\nconnection = ''", ["signing.connection = ''", "at least 1 character"]),
        ("chunk_samples = 50", "chunk_bytes = 10", ["prediction.chunk_bytes = 10", "greater than or equal to 1024"]),
        ("[promotion]", "[promotions]", ["promotions", "no such key"]),
        ("[source]", "[[source]]", ["source = [{'kind': 'digits'}]", "valid dictionary"]),
        ('description = "Which shoe is it?"', "", ["description", "required"]),
        ("[topics]", 'name = "boots"\n[topics]', ["name = 'boots'", "the file's name is the name"]),
        ('description = "Which shoe is it?"', "description =", ["not a TOML file", "line 2"]),
        ("records = 100", "records = 100\nrecords = 100", ["not a TOML file", "line 17"]),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" in value else "",
)
def test_a_fault_names_key_value_and_what_is_allowed(tmp_path, replaced, by, expected):
    path = tmp_path / "shoes.toml"
    assert VALID.count(replaced) == 1
    path.write_text(VALID.replace(replaced, by))

    (fault,) = faults_of(path)

    assert "\n" not in fault
    for part in expected:
        assert part.lower() in fault.lower(), fault


def test_every_fault_of_a_file_is_reported(tmp_path):
    """Faults of single keys and faults across tables, one of each where they are in the same file."""
    text = VALID
    for good, bad in {
        "[topics]": 'name = "boots"\n[topics]\nsamples = "theirs"',  # [source] fills the samples already
        "epochs = 3": "epochs = 0\nseed = -1",
        "records = 100": "record = 100",
        "chunk_samples = 50": "max_wait_s = 60",  # a prediction begins at the first request
    }.items():
        assert text.count(good) == 1
        text = text.replace(good, bad)
    path = tmp_path / "shoes.toml"
    path.write_text(text)

    keys = sorted(fault.partition(" = ")[0] for fault in faults_of(path))

    assert keys == [
        "ingest.record",
        "name",
        "prediction.max_wait_s",
        "topics.samples",
        "training.epochs",
        "training.seed",
    ]


def test_tables_that_contradict_each_other_are_all_reported(tmp_path):
    path = tmp_path / "shoes.toml"
    augment = "[[training.augment]]\nkind = 'image.shift'\npixels = 28"
    path.write_text(VALID.replace("epochs = 3", augment) + "[envelope]\nkind = 'bare'\n[registry]\nconnection = 'r'")

    keys = sorted(fault.partition(":")[0] for fault in faults_of(path))

    assert keys == ["envelope", "registry", "training.augment.0"]


def test_a_check_that_needs_an_invalid_table_is_left_out(tmp_path):
    """An unknown format has no shape to compare the augmentation with."""
    path = tmp_path / "shoes.toml"
    augment = "[[training.augment]]\nkind = 'image.shift'\npixels = 28"
    path.write_text(VALID.replace("epochs = 3", augment).replace("image.png", "image.gif"))

    (fault,) = faults_of(path)

    assert fault.startswith("format.kind = 'image.gif'")


@pytest.mark.parametrize("name", ["Shoes", "my-shoes", "my.shoes", "1shoe", "_shoes", "schöne_schuhe", "s" * 64])
def test_a_name_that_topics_and_dags_cannot_have_is_refused(tmp_path, name):
    path = tmp_path / f"{name}.toml"
    path.write_text(VALID)

    assert faults_of(path) == (
        f"name = {name!r}: a pipeline's file name has only small letters, digits and _, and begins with a letter",
    )


@pytest.mark.parametrize("name", ["s", "shoes", "shoes_2", "s" * 63])
def test_a_plain_name_is_accepted(tmp_path, name):
    path = tmp_path / f"{name}.toml"
    path.write_text(VALID)

    assert isinstance(read_pipeline(path), Pipeline)


def test_bytes_that_are_not_utf_8_are_a_fault(tmp_path):
    path = tmp_path / "shoes.toml"
    path.write_bytes(b'description = "\xff"')

    assert "not a TOML file" in faults_of(path)[0]


def test_an_invalid_file_does_not_affect_the_others(folder):
    (folder / "boots.toml").write_text(VALID)
    (folder / "clogs.toml").write_text("this is no TOML")
    (folder / "pumps.toml").mkdir()
    (folder / "shoes.toml").write_text(VALID)
    (folder / "socks.toml").symlink_to(folder / "gone")
    (folder / "notes.txt").write_text("not read")

    valid, invalid = load_pipelines()

    assert [pipeline.name for pipeline in valid] == ["boots", "shoes"]
    assert [item.path.stem for item in invalid] == ["clogs", "pumps", "socks"]


def test_an_unknown_pipeline_is_refused_with_the_names_of_the_known_ones(folder):
    (folder / "boots.toml").write_text(VALID)
    (folder / "shoes.toml").write_text(VALID)

    with pytest.raises(UnknownPipeline) as refusal:
        load_pipeline("socks")

    assert_readable(refusal.value, "'socks'", "boots, shoes", folder)


def test_an_invalid_pipeline_is_refused_with_its_faults(folder):
    (folder / "shoes.toml").write_text(VALID.replace("epochs = 3", "epochs = 0"))

    with pytest.raises(UnknownPipeline) as refusal:
        load_pipeline("shoes")

    assert_readable(refusal.value, "'shoes'", "training.epochs = 0")


def test_topics_are_laid_out_as_the_file_says(folder):
    (folder / "shoes.toml").write_text(
        VALID.replace("partitions = 2", "partitions = 2\nretention_hours = 3\nmax_record_bytes = 2048")
    )

    samples, requests, predictions, again, dead_letters, ledger = load_pipeline("shoes").topic_specs()

    assert [spec.name for spec in (samples, requests, predictions, again, dead_letters)] == [
        "shoes.samples",
        "shoes.requests",
        "shoes.predictions",
        "shoes.repredictions",
        "shoes.dead-letters",
    ]
    assert {spec.partitions for spec in (samples, requests, predictions, again, dead_letters)} == {2}
    assert samples.config == {"retention.ms": "10800000", "max.message.bytes": "2048"}
    assert dead_letters.config["max.message.bytes"] == str(2048 + 64 * 1024)
    assert ledger.config["cleanup.policy"] == "compact"


def test_no_heavy_library_is_imported():
    """DAG files reach this module, and they are parsed again and again."""
    program = "from include.definition.files import load_pipelines; import sys; load_pipelines(); print(*sys.modules)"

    found = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, check=True, text=True
    ).stdout.split()

    heavy = {"torch", "confluent_kafka", "mlflow", "numpy", "sklearn", "PIL", "airflow"}
    assert heavy.isdisjoint(found)
