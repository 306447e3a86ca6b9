"""Checkpoints: whole or not at all, the last good one counts, and a flipped bit is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from include.artifact.result import OtherJob
from include.storage.atomic import ASIDE
from include.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.support.assertions import assert_readable

JOB = "a" * 64
MAPS = Path("/proc/self/maps")


def checkpoint(number: int) -> Checkpoint:
    tensors = {
        "network.weight": torch.full((2, 3), float(number)),
        "random.cpu": torch.tensor([1, 2], dtype=torch.uint8),
    }
    return Checkpoint(tensors, {"batch": number, "loss_total": 0.1 + 0.2})


def saved(folder: Path, count: int) -> list[Path]:
    return [save_checkpoint(folder, JOB, checkpoint(number)) for number in range(1, count + 1)]


def found(folder: Path) -> int | None:
    loaded = load_checkpoint(folder, JOB)
    return None if loaded is None else loaded.state["batch"]


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    loaded = load_checkpoint(tmp_path, JOB)
    assert loaded.state == {"job": JOB, "batch": 1, "loss_total": 0.1 + 0.2}
    assert torch.equal(loaded.tensors["network.weight"], torch.full((2, 3), 1.0))
    assert torch.equal(loaded.tensors["random.cpu"], torch.tensor([1, 2], dtype=torch.uint8))


def test_the_newest_counts_and_only_the_one_before_it_is_kept(tmp_path: Path) -> None:
    paths = saved(tmp_path, 4)
    assert found(tmp_path) == 4
    assert sorted(tmp_path.iterdir()) == paths[-2:]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "SHA256"])
@pytest.mark.parametrize("position", [0, -1])
def test_a_flipped_bit_in_the_newest_is_named_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, position: int
) -> None:
    newest = saved(tmp_path, 2)[-1]
    flip(newest / name, position)
    assert found(tmp_path) == 1
    assert str(newest) in caplog.text


def test_a_missing_file_is_named_and_the_one_before_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    newest = saved(tmp_path, 2)[-1]
    (newest / "state.json").unlink()
    assert found(tmp_path) == 1
    assert str(newest) in caplog.text


def test_after_a_damaged_one_the_good_one_is_still_the_one_that_is_kept(tmp_path: Path) -> None:
    older, newest = saved(tmp_path, 2)
    flip(newest / "state.json", 0)
    load_checkpoint(tmp_path, JOB)
    save_checkpoint(tmp_path, JOB, checkpoint(3))
    assert older.is_dir()


def test_where_none_is_good_the_run_begins_anew(tmp_path: Path) -> None:
    for path in saved(tmp_path, 2):
        flip(path / "tensors.safetensors", -1)
    assert found(tmp_path) is None


def test_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none", JOB) is None


def test_another_jobs_checkpoint_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    with pytest.raises(OtherJob) as refused:
        load_checkpoint(tmp_path, "b" * 64)
    assert_readable(refused.value, "a" * 12, "b" * 12)


@pytest.mark.skipif(not MAPS.exists(), reason="this system does not list mapped files")
def test_what_was_loaded_does_not_keep_the_room_of_a_removed_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    loaded = load_checkpoint(tmp_path, JOB)
    assert loaded is not None
    assert str(tmp_path) not in MAPS.read_text()


def test_what_a_killed_writer_left_is_not_seen_and_is_cleared_away(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    leftover = tmp_path / f"{ASIDE}000002-4711"
    leftover.mkdir()
    (leftover / "tensors.safetensors").write_bytes(b"half")
    assert found(tmp_path) == 1
    assert not leftover.exists()
