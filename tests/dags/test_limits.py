"""A file at the limits of its settings makes DAGs: what Airflow refuses in one takes those of all pipelines with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.definition.files import InvalidPipeline, read_pipeline
from tests.support.dags import load_dags

LARGEST = {
    "tags": f'["{"t" * 100}"]',
    "connection": r"'kafka.a-b:c/d\e(f)!'",
    "min_new_samples": "1000000000",
    "train_s": "2592000",
    "predict_s": "2592000",
    "approval_s": "2592000",
    "label_delay_s": "315360000",
}
FILE = """
description = "At the limits."
tags = {tags}
connection = {connection}
[format]
kind = "image.png"
height = 8
width = 8
[source]
kind = "digits"
[model]
kind = "convnet"
[training]
labels = ["0", "1"]
epochs = 10000
batch_size = 65536
learning_rate = 1
min_new_samples = {min_new_samples}
[ingest]
records = 1000000
[promotion]
approval = "person"
approval_s = {approval_s}
[export]
path = "exports"
[watch]
label_delay_s = {label_delay_s}
[alerts]
train_s = {train_s}
predict_s = {predict_s}
"""


def test_a_file_at_its_limits_makes_all_dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "limits.toml").write_text(FILE.format(**LARGEST))
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))

    bag = load_dags()

    assert bag.import_errors == {}
    assert {"limits.ingest", "limits.train", "limits.predict", "limits.export", "limits.watch"} <= bag.dags.keys()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tags", f'["{"t" * 101}"]'),
        ("tags", '[""]'),
        *(("connection", f'"{name}"') for name in ("", "a?b", "a#b", "a[b", "a b")),
        ("min_new_samples", "1000000001"),
        *((key, value) for key in ("train_s", "predict_s", "approval_s") for value in ("2592001", "inf", "nan")),
        *(("label_delay_s", value) for value in ("315360001", "inf")),
    ],
)
def test_what_airflow_would_refuse_is_a_fault_of_the_file(tmp_path: Path, key: str, value: str) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(FILE.format(**{**LARGEST, key: value}))

    found = read_pipeline(file)

    assert isinstance(found, InvalidPipeline)
    (fault,) = found.faults
    assert key in fault.partition(" = ")[0]
