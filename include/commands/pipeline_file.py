"""The text of a new pipeline's file, from a survey of its data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.codecs import AudioCodec, ImageCodec, TextCodec
from include.commands.image_format import NoPipelineFits
from include.kafka.headers import LONGEST_HEADER_BYTES
from include.kafka.records import RECORD_OVERHEAD_BYTES

if TYPE_CHECKING:
    from include.commands.survey import Survey

MIB = 2**20
MAX_RECORD_BYTES = 64 * MIB
# The least and the largest size of a batch of records, and the size of a training batch unless the data are few.
RECORDS, MOST_RECORDS = 1000, 10_000
BATCH_SIZE = 64
# The convnet halves an image at each stage, down to about this many pixels a channel.
LAST_STAGE = 64


def pipeline_text(found: Survey, schema: str) -> str:
    """TOML with comments on the settings that a person will want to change.

    Args:
        found: the survey.
        schema: where the JSON Schema is, relative to the new file.

    Raises:
        NoPipelineFits: the images are too small for the network.
    """
    labels, samples = found.labels, found.samples
    largest_class = max(labels, key=lambda label: labels[label])
    most = labels[largest_class] / sum(labels.values())
    records = records_of(samples)
    source = "\n".join(f"{key} = {_toml(value)}" for key, value in found.source.items())
    suited = _suited_to(found)
    return f"""\
#:schema {schema}
# Made by `millrace new-pipeline` from {samples:,} {found.noun}s of {len(labels)} classes; edit it as you like.
# The name of this file is the pipeline's name, and part of the names of its topics and its model.
description = {_toml(f"Which of {len(labels)} classes is this {found.noun} of?")}
tags = [{_toml(f"{found.noun}s")}]

[topics]
# The most tasks that can predict at once. It can't be changed once the topics exist.
partitions = 3
{_record_limit(found)}
[format]
{suited.sample_format}

[source]
{source}
{_group_hint(found.source["kind"])}

[ingest]
# When a batch is sent (cron), and its largest number of samples; a manual run sends the next batch at once.
schedule = "0 * * * *"
records = {records}
# The share of samples that is sent as requests, without labels. Set 0 if other programs send the requests.
requests_share = 0.1

[model]
{suited.model}

[training]
labels = {_toml(list(labels))}
epochs = 10
batch_size = {_batch_size(samples)}
learning_rate = {suited.learning_rate}
# The train DAG starts when there are so many new samples.
min_new_samples = {max(1, min(RECORDS, samples // 2, records // 2))}
{_split(found)}{suited.more_training}
[promotion]
# The lowest accuracy of a champion, above the {most:.2f} of a model that always answers {_toml(largest_class)}.
floor = {min(0.99, most + 0.05):.2f}
"""


def _split(found: Survey) -> str:
    if not found.given_split:
        return ""
    return '# "given" holds out the samples of val and test folders; "hash" a share of all.\nsplit = "given"\n'


def records_of(samples: int) -> int:
    """The size of a batch: all samples that there are, `MOST_RECORDS` at most, so that the first model sees them."""
    return min(MOST_RECORDS, max(RECORDS, samples))


def _setting(key: str, value: str | None, example: str) -> str:
    """The line of a setting, or a comment with an example if it has no value."""
    return f"# {key} = {_toml(example)}" if value is None else f"{key} = {_toml(value)}"


@dataclass(frozen=True)
class _TomlTables:
    """The settings for the samples' format: the content of two tables, and settings of the training."""

    sample_format: str
    model: str
    learning_rate: float
    more_training: str = ""


def _suited_to(found: Survey) -> _TomlTables:
    codec = found.codec
    if isinstance(codec, ImageCodec):
        return _TomlTables(_image_format(codec), _image_model(codec), 0.003, IMAGE_TRAINING)
    if isinstance(codec, TextCodec):
        return _TomlTables(_text_format(codec, found.largest), TEXT_MODEL, 0.01)
    if isinstance(codec, AudioCodec):
        return _TomlTables(_sound_format(codec), _sound_model(codec), 0.005)
    raise NoPipelineFits(f"No bundled network takes samples of the format {codec.kind}: write the file by hand.")


IMAGE_TRAINING = """\
# Augmentations change each image at random while training; include/augmentations has the kinds.
# [[training.augment]]
# kind = "image.flip"
"""


def _image_format(codec: ImageCodec) -> str:
    return f"""\
# The size and channels of every sample (1: gray, 3: RGB). Another size needs another pipeline.
kind = {_toml(codec.kind)}
height = {codec.height}
width = {codec.width}
channels = {codec.channels}
# "crop" resizes images of any size and cuts off the rest, "pad" adds black borders, "stretch" changes the proportions;
# without it, an image of another size is refused.
{_setting("resize", codec.resize, "crop")}
# "convert" accepts any colours, with transparency on white; without it, other channels are refused.
{_setting("colours", codec.colours, "convert")}"""


def _image_model(codec: ImageCodec) -> str:
    return f"""\
# Output channels of each stage; a stage halves the image.
kind = "convnet"
channels = {_toml(_stages(codec.height, codec.width))}"""


def _text_format(codec: TextCodec, longest: int) -> str:
    return f"""\
# In bytes of UTF-8, 1 to 4 a character. The longest text has {longest:,} now; longer texts than `length` are left out.
kind = {_toml(codec.kind)}
length = {codec.length}"""


def _sound_format(codec: AudioCodec) -> str:
    spectrogram = codec.spectrogram
    return f"""\
# Every sample is mixed to one channel, resampled to this rate, and cut or padded to this length, at both ends or with
# align = "start" at the end.
kind = {_toml(codec.kind)}
sample_rate = {codec.sample_rate}
seconds = {codec.seconds}

[format.spectrogram]
# Windows of n_fft samples, one every `hop`; mel bands up to half the rate, or fmax.
n_fft = {spectrogram.n_fft}
hop = {spectrogram.hop}
n_mels = {spectrogram.n_mels}"""


def _sound_model(codec: AudioCodec) -> str:
    bands = codec.spectrogram.n_mels
    return f"""\
# Output channels of each stage; a stage halves bands and times.
kind = "spectrogram"
channels = {_toml([16, 32, 64, 64] if bands >= 16 else [16, 32, 64])}"""


TEXT_MODEL = """\
# Features are byte sequences of these lengths, hashed into buckets: use more for many or long texts.
kind = "ngrams"
lengths = [1, 2, 3, 4]
buckets = 32768"""


def _record_limit(found: Survey) -> str:
    needed = found.largest + RECORD_OVERHEAD_BYTES + 4 * LONGEST_HEADER_BYTES
    if needed <= MIB:
        return ""
    # Twice the size, for larger samples later.
    limit = min(MAX_RECORD_BYTES, -(-2 * needed // MIB) * MIB)
    return f"# The largest {found.noun} now has {found.largest:,} bytes.\nmax_record_bytes = {limit}\n"


def _group_hint(kind: str) -> str:
    what = "# Samples of one group stay on one side of the held-out split, of a person or a device for example: "
    if kind == "folder":
        return what + "a regular expression over the path.\n# group = '/(person[0-9]+)_'"
    return what + 'a column.\n# group = "person"'


def _stages(height: int, width: int) -> list[int]:
    """Output channels of the convnet's stages, two unless the image's size needs another number."""
    if min(height, width) < 2:
        raise NoPipelineFits(
            f"The images have {width}x{height} pixels and the bundled network takes 2x2 at least: resize them all, or "
            "add a network in include/models."
        )
    stages = 1
    while min(height, width) >> (stages + 1) and (stages < 2 or (height >> stages) * (width >> stages) > LAST_STAGE):
        stages += 1
    return [32, *[64] * (stages - 1)] if stages <= 2 else [32, 64, *[128] * (stages - 2)]


def _batch_size(samples: int) -> int:
    """A power of two, at most an eighth of few samples, so that an epoch has several batches."""
    return max(2, min(BATCH_SIZE, 2 ** ((samples // 8).bit_length() - 1))) if samples >= 8 else 2


def _toml(value: Any) -> str:
    """A string, or a list of strings or numbers, as TOML: like JSON, except for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
