"""Every prediction is one row of one file, despite kills, late attempts and concurrent ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from include.exactly_once import ledger
from include.exactly_once.attempt import Attempt
from include.exactly_once.snapshot import snapshot_progress
from include.export import export as export_module
from include.export.export import STEP, ExportLost, export_predictions
from include.export.folder import OBJECT_STORAGES, ExportFolder, ExportRefused, ExportUnreachable
from include.kafka.errors import RangeUnavailable
from include.kafka.ranges import freeze_ranges
from include.kafka.records import Address
from include.kafka.topics import ensure_topics
from include.prediction.read import read_predictions
from include.storage.gcs import google_filesystem
from tests.support.administrator import delete_records
from tests.support.assertions import assert_readable
from tests.support.attempts import export_job, kill_at, session_workers
from tests.support.producers import NOW_MS, Record, abort, commit, produce
from tests.support.published_values import prediction_value
from tests.support.s3 import answering
from tests.support.tiny_pipelines import IDENTITY, sample_id

DAY_MS = 24 * 3600 * 1000
TODAY = datetime.fromtimestamp(NOW_MS / 1000, UTC).date()
YESTERDAY = TODAY - timedelta(days=1)


ANSWER = {"label": "a", "score": 0.5}


def publish(kafka, pipeline, numbers, *, write=commit, days_ago=0, partition=0, answer=ANSWER):
    records = [
        Record(
            value=prediction_value(sample_id(number), answer, IDENTITY, Address("requests", 0, number), NOW_MS),
            timestamp_ms=NOW_MS - days_ago * DAY_MS,
        )
        for number in numbers
    ]
    write(kafka, pipeline.predictions_topic, records, partition=partition)


def export(kafka, pipeline, place, *, rows=10, **settings):
    return export_predictions(Attempt(kafka, pipeline.name, STEP, "run-1", **settings), pipeline, place, rows=rows)


def exported(folder):
    """The offsets of the predictions in the folder, sorted."""
    return sorted(pd.read_parquet(folder)["offset"])


@pytest.fixture
def place(tmp_path):
    return ExportFolder(str(tmp_path / "export"))


@pytest.fixture
def folder(place):
    return place.path


def test_a_row_has_what_read_predictions_gives(kafka, new_pipeline, place, folder):
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(5))

    assert export(kafka, pipeline, place).rows == 5

    written = pd.read_parquet(folder).drop(columns="day")
    pd.testing.assert_frame_equal(written, read_predictions(kafka, pipeline), check_dtype=False)


def test_a_piece_ends_at_its_bytes_too(kafka, new_pipeline, place, folder, monkeypatch):
    """Records of a megabyte each would not fit into memory."""
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(20))
    monkeypatch.setattr(export_module, "PIECE_BYTES", 1000)

    report = export(kafka, pipeline, place, rows=1000)

    assert report.rows == 20
    assert report.files > 3
    assert exported(folder) == list(range(20))


def test_predictions_are_in_the_folder_of_the_day_they_were_published_on(kafka, new_pipeline, place, folder):
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(3), days_ago=1)
    publish(kafka, pipeline, range(3, 5))

    export(kafka, pipeline, place)

    days = pd.read_parquet(folder).groupby("day", observed=True)["offset"].apply(list)
    assert {str(day): numbers for day, numbers in days.items()} == {
        str(YESTERDAY): [0, 1, 2],
        str(TODAY): [3, 4],
    }


def test_a_run_writes_what_earlier_runs_have_not_written(kafka, new_pipeline, place, folder):
    pipeline = new_pipeline(topics={"partitions": 2})
    publish(kafka, pipeline, range(25))
    publish(kafka, pipeline, range(100, 110), write=abort)
    publish(kafka, pipeline, range(25, 30), partition=1)

    assert (export(kafka, pipeline, place).rows, export(kafka, pipeline, place).rows) == (30, 0)
    publish(kafka, pipeline, range(30, 33), days_ago=1)
    assert export(kafka, pipeline, place).rows == 3

    assert exported(folder) == list(range(33))


@pytest.mark.parametrize(("write", "known"), [(commit, False), (produce, True)])
def test_the_leader_epoch_is_kept_only_where_a_record_lies_right_before_the_position(
    kafka, new_pipeline, place, write, known
):
    """A marker may have a later epoch, by which the broker would report a truncated log."""
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(3), write=write)

    export(kafka, pipeline, place)

    ranges = freeze_ranges(kafka, pipeline.predictions_topic)
    assert ("leader_epoch" in snapshot_progress(kafka, pipeline.name, STEP, ranges)[0]) is known


@pytest.mark.parametrize("rows", [2, 3])
def test_predictions_that_retention_removes_after_they_were_written_are_not_lost(
    kafka, new_pipeline, place, folder, rows
):
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(2))
    publish(kafka, pipeline, range(100, 103), write=abort)
    export(kafka, pipeline, place, rows=rows)
    delete_records(kafka, pipeline.predictions_topic, freeze_ranges(kafka, pipeline.predictions_topic)[0].end)
    publish(kafka, pipeline, range(2, 4))

    assert export(kafka, pipeline, place).rows == 2

    assert exported(folder) == list(range(4))


def test_files_are_one_table_though_no_sample_of_the_first_has_a_label(kafka, new_pipeline, place, folder):
    pipeline = new_pipeline(training={"task": "multi-label", "labels": ["a", "b"]})
    answers = [{"labels": labels, "scores": {"a": 0.5, "b": 0.5}} for labels in ([], ["a", "b"])]
    for number, answer in enumerate(answers):
        publish(kafka, pipeline, [number], answer=answer)
        export(kafka, pipeline, place)

    assert [list(labels) for labels in pd.read_parquet(folder)["labels"]] == [[], ["a", "b"]]


def test_a_record_that_is_no_prediction_is_counted_and_left_out(kafka, new_pipeline, place, folder):
    pipeline = new_pipeline()
    publish(kafka, pipeline, [0])
    produce(kafka, pipeline.predictions_topic, [Record(value=b"{}")])
    publish(kafka, pipeline, [1])

    done = export(kafka, pipeline, place)

    assert (done.rows, done.left_out, exported(folder)) == (2, 1, [0, 1])


@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("before parquet rename", 1),
        ("after parquet rename", 1),
        ("after parquet rename", 2),
        ("before commit", 2),
        ("after commit", 2),
    ],
)
def test_a_killed_export_duplicates_nothing_and_loses_nothing(kafka, new_pipeline, place, folder, point, number):
    """The first transaction plans a piece of two days, and so two files; the second one records it as done."""
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(4), days_ago=1)
    publish(kafka, pipeline, range(4, 25))
    kill_at(point, number, export_job(kafka, pipeline, folder, rows=10))
    # More of them, and pieces of another size: the next attempt would cut the log in other places.
    publish(kafka, pipeline, range(25, 40), days_ago=1)

    export(kafka, pipeline, place, rows=7)

    assert exported(folder) == list(range(40))
    assert read_nothing_else(folder)


def read_nothing_else(folder):
    """Whether no file is left that readers of the folder would skip."""
    return all(path.suffix == ".parquet" for path in Path(folder).rglob("*") if path.is_file())


@pytest.mark.parametrize("point", ["before parquet rename", "after parquet rename"])
def test_the_earlier_of_two_exports_is_fenced_and_each_row_is_written_once(kafka, new_pipeline, place, folder, point):
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(25))
    first = session_workers().start(export_job(kafka, pipeline, folder, rows=10), halt=(point, 1))
    assert first.reaches("halted")
    publish(kafka, pipeline, range(25, 40))

    export(kafka, pipeline, place, rows=7)
    first.wake()

    assert first.end().failed_with("Fenced")
    assert exported(folder) == list(range(40))


@pytest.mark.parametrize("written", [True, False])
def test_predictions_that_retention_removed_are_accepted_on_request_only(kafka, new_pipeline, place, folder, written):
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(20), write=produce)
    point = "after parquet rename" if written else "after commit"
    kill_at(point, 1, export_job(kafka, pipeline, folder, rows=10))
    delete_records(kafka, pipeline.predictions_topic, 5)

    with pytest.raises(RangeUnavailable) as refusal:
        export(kafka, pipeline, place)
    assert_readable(refusal.value, pipeline.predictions_topic, "accept_lost")
    export(kafka, pipeline, place, accept_lost=True)

    assert exported(folder) == list(range(0 if written else 5, 20))


def test_files_without_a_ledger_entry_are_refused(kafka, new_pipeline, place, monkeypatch):
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(5))
    export(kafka, pipeline, place)
    monkeypatch.setattr(ledger, "LEDGER_TOPIC", "another.ledger")
    ensure_topics(kafka, [ledger.ledger_topic()])

    with pytest.raises(ExportLost) as refusal:
        export(kafka, pipeline, place)

    assert_readable(refusal.value, place.path, "1 files", pipeline.predictions_topic)


def test_a_topic_id_of_any_characters_is_a_part_of_a_plain_file_name(kafka, new_pipeline, place, monkeypatch):
    """Half of all topic ids have a `/` or a `+`: Kafka's client gives them in standard base64."""
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(5))

    def ranges_of_such_an_id(*args):
        return [replace(item, topic_id="a/b+c/defghijklmnopqrs") for item in freeze_ranges(*args)]

    monkeypatch.setattr("include.export.export.freeze_ranges", ranges_of_such_an_id)
    export(kafka, pipeline, place)

    (file,) = (path for path in Path(place.path).rglob("*") if path.is_file())
    assert file.parent == Path(place.path, f"day={TODAY}")
    assert file.name.startswith(f"{pipeline.predictions_topic}-a_b-c_defghijklmnopqrs-0-")
    entries = snapshot_progress(kafka, pipeline.name, STEP, ranges_of_such_an_id(kafka, pipeline.predictions_topic))
    assert entries[0]["topic_id"] == "a/b+c/defghijklmnopqrs"

    monkeypatch.setattr(ledger, "LEDGER_TOPIC", "another.ledger")
    ensure_topics(kafka, [ledger.ledger_topic()])
    with pytest.raises(ExportLost):
        export(kafka, pipeline, place)


def test_an_object_storage_holds_the_same_files(kafka, new_pipeline, bucket):
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(4), days_ago=1)
    publish(kafka, pipeline, range(4, 9))
    filesystem = bucket.filesystem()

    export(kafka, pipeline, ExportFolder(f"{bucket.path}/out", filesystem), rows=5)

    assert sorted(pd.read_parquet(f"{bucket.name}/out", filesystem=filesystem.fs)["offset"]) == list(range(9))
    folders = [entry["name"] for entry in filesystem.ls(f"{bucket.name}/out", detail=True)]
    assert folders == [f"{bucket.name}/out/day={day}" for day in (YESTERDAY, TODAY)]


def test_a_folder_that_cannot_be_created_is_refused(kafka, new_pipeline, tmp_path):
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(4))
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ExportRefused) as refusal:
        export(kafka, pipeline, ExportFolder(str(tmp_path / "file")))

    assert_readable(refusal.value, tmp_path / "file", "path of [export]")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [("403 Forbidden", "AccessDenied", ExportRefused), ("500 Server Error", "InternalError", ExportUnreachable)],
)
def test_an_error_of_the_storage_is_one_sentence(kafka, new_pipeline, bucket, status, code, kind):
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(4))

    with answering(status, code) as endpoint, pytest.raises(kind) as error:
        export(kafka, pipeline, ExportFolder(bucket.path, bucket.filesystem(endpoint_override=endpoint)))

    assert_readable(error.value, bucket.path)


def test_a_missing_bucket_is_refused(kafka, new_pipeline, bucket):
    pipeline = new_pipeline()
    publish(kafka, pipeline, range(4))

    with pytest.raises(ExportRefused) as refusal:
        export(kafka, pipeline, ExportFolder("s3://no-such-bucket/out", bucket.filesystem()))

    assert_readable(refusal.value, "s3://no-such-bucket/out", "create the bucket")


def test_a_url_without_a_connection_is_refused():
    with pytest.raises(ExportRefused) as refusal:
        ExportFolder("s3://bucket/out")

    assert_readable(refusal.value, "s3://bucket/out", "connection in [export]")


class Sftp(MemoryFileSystem):
    """Stands for the file systems that have folders and no atomic writes."""

    protocol = ("sftp", "ssh")


@pytest.mark.parametrize(
    ("path", "filesystem", "kind"),
    [
        ("sftp://host/out", Sftp(), "'sftp'"),
        ("/out", DirFileSystem("/out", LocalFileSystem()), "'dir'"),
        ("memory://out", MemoryFileSystem(), "'memory'"),
    ],
    ids=["sftp", "dir", "memory"],
)
def test_a_storage_on_which_a_part_of_a_file_can_be_seen_is_refused(path, filesystem, kind):
    with pytest.raises(ExportRefused) as refusal:
        ExportFolder(path, filesystem)

    assert_readable(refusal.value, path, kind, "local folder", *OBJECT_STORAGES)


def test_the_google_client_is_an_object_storage():
    pytest.importorskip("gcsfs")

    assert ExportFolder("gs://bucket/out", google_filesystem(token="anon")).path == "gs://bucket/out"  # noqa: S106 - no secret
