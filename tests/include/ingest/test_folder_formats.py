"""A folder of any format is sent file by file, unchanged, with the folder's name as the label."""

from __future__ import annotations

import pytest

from include.exactly_once.attempt import Attempt
from include.ingest.batch import ingest_batch
from tests.support.consumers import committed_records
from tests.support.corpus import saved, slope
from tests.support.folders import LocalFolder
from tests.support.sounds import RATE, sound_file, tone

SOUND = {"sample_rate": RATE, "seconds": 0.05}
FILES = {
    "png": (saved(slope("L", 8, 8), "PNG"), {"kind": "image.png", "height": 8, "width": 8}),
    "wav": (sound_file(tone(440), "WAV"), {"kind": "audio.wav", **SOUND}),
    "flac": (sound_file(tone(440), "FLAC"), {"kind": "audio.flac", **SOUND}),
    "txt": ("Grüße aus München".encode(), {"kind": "text.utf8", "length": 20}),
}


@pytest.mark.parametrize("ending", FILES)
def test_files_are_sent_as_they_are_with_their_folders_as_labels(kafka, new_pipeline, tmp_path, ending):
    content, codec = FILES[ending]
    place = LocalFolder(tmp_path / "set")
    for label in "ab":
        place.write(f"{label}/one.{ending}", content)
    source = {"kind": "folder", "path": place.path}
    pipeline = new_pipeline(format=codec, source=source, ingest={"requests_share": 0.0})

    ingest_batch(Attempt(kafka, pipeline.name, "ingest", "run-1"), pipeline, "first", records=10)

    sent = {record.key(): record for record in committed_records(kafka, pipeline.samples_topic)}
    assert sorted(sent) == [f"{label}/one.{ending}".encode() for label in "ab"]
    for key, record in sent.items():
        assert record.value() == content
        assert ("label", key[:1]) in record.headers()
