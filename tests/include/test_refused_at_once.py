"""What somebody's own data and network are refused for at once: a sentence with the file, the value and the fix."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from include.artifact.card import SideReport
from include.commands.survey import survey_folder
from include.definition.files import load_pipeline
from include.kafka.ranges import OffsetRange
from include.models.imported import ImportedModel
from include.network.build import build_network
from include.sources.folder import FolderSource
from include.targets.classification import Classification
from include.training.checks import TRAINING, check_side
from include.training.job import TrainingJob
from tests.support.assertions import assert_readable
from tests.support.corpus import saved, slope
from tests.support.folders import LocalFolder
from tests.support.tiny_pipelines import tiny_pipeline

FILE = """
description = "Which flower is it?"
[format]
kind = "image.png"
height = 8
width = 8
[source]
kind = "digits"
[model]
kind = "convnet"
[training]
labels = ["rose", "tulip"]
"""


def loaded(folder: Path, wrong: str, instead_of: str) -> None:
    (folder / "flowers.toml").write_text(FILE.replace(instead_of, wrong))
    load_pipeline("flowers")


def built(folder: Path, outputs: str) -> None:
    (folder / "flower_nets.py").write_text(
        f"from torch import nn\ndef build(shape, outputs): return nn.Sequential(nn.Flatten(), nn.Linear(64, {outputs}))"
    )
    model = ImportedModel(kind="flower_nets:build")
    build_network(model, (1, 8, 8), Classification(("rose", "tulip")), file="flowers.toml")


def pictures(folder: Path, *names: str) -> str:
    place = LocalFolder(folder / "flowers")
    (folder / "flowers").mkdir()
    for name in names:
        place.write(name, saved(slope("L", 8, 8), "PNG"))
    return place.path


def ingested(folder: Path, *names: str) -> None:
    FolderSource(path=pictures(folder, *names)).count()


def surveyed(folder: Path, *names: str) -> None:
    survey_folder(pictures(folder, *names))


def learnt(_folder: Path, **samples: int) -> None:
    pipeline = tiny_pipeline("flowers", training={"labels": ["rose", "tulip"], "batch_size": 64})
    job = TrainingJob.of(pipeline, [OffsetRange("flowers.samples", "id", 0, 0, 1000)])
    check_side(job, TRAINING, SideReport(total=sum(samples.values()), samples=samples, refused={}))


@dataclass
class Wrong:
    """Something wrong, done in a folder of its own, and what its refusal names."""

    do: Callable[..., None]
    named: tuple[str, ...]
    args: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    "wrong",
    {
        "no TOML": Wrong(loaded, ("'flowers'", "not a TOML file", "line"), ("labels = [", "labels = ")),
        "a wrong value": Wrong(
            loaded, ("'flowers'", "format.height = 0", "greater than"), ("height = 0", "height = 8")
        ),
        "a misspelt key": Wrong(loaded, ("'flowers'", "format.hieght = 8", "spelling"), ("hieght", "height")),
        "an unknown kind": Wrong(loaded, ("'flowers'", "model.kind = 'resnet'", "convnet"), ("resnet", "convnet")),
        "one label": Wrong(loaded, ("'flowers'", "training.labels = ['rose']", "name another"), ("", ', "tulip"')),
        "too many outputs": Wrong(built, ("flowers.toml", "'flower_nets:build'", "(2, 3)", "last layer"), ("3",)),
        "a missing axis": Wrong(built, ("flowers.toml", "(4,)", "(2, 2)", "last layer"), ("outputs), nn.Flatten(0",)),
        "a folder without classes": Wrong(ingested, ("flowers", "'1.png'", "move it"), ("1.png", "2.png")),
        "a folder of one class": Wrong(ingested, ("flowers", "'rose'", "add a folder"), ("rose/1.png", "rose/2.png")),
        "an empty folder": Wrong(ingested, ("flowers", "[source]")),
        "pictures without classes": Wrong(surveyed, ("flowers", "'1.png'", "move each of them"), ("1.png", "2.png")),
        "pictures of one class": Wrong(surveyed, ("flowers", "'rose'", "class"), ("rose/1.png",)),
        "an empty folder of pictures": Wrong(surveyed, ("flowers", "fill it")),
        "samples of one class": Wrong(
            learnt, ("flowers.toml", "'rose'", "200", "ingest samples of the others"), settings={"rose": 200}
        ),
        "fewer samples than a batch": Wrong(
            learnt, ("flowers.toml", "63", "64", "training.batch_size"), settings={"rose": 33, "tulip": 30}
        ),
    }.items(),
    ids=lambda item: item[0],
)
def test_it_is_refused_with_file_value_and_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, Wrong]
) -> None:
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flower_nets", raising=False)
    case = wrong[1]
    with pytest.raises(Exception, match=re.escape(case.named[0])) as refused:
        case.do(tmp_path, *case.args, **case.settings)
    assert_readable(refused.value, *case.named)
