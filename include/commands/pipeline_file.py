"""A new pipeline's file: the text that goes with a survey of its data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.codecs._audio import AudioCodec
from include.codecs._image import ImageCodec
from include.codecs._text import TextCodec
from include.commands.image_format import NoPipelineFits
from include.kafka.headers import LONGEST_HEADER_BYTES
from include.kafka.records import RECORD_OVERHEAD_BYTES

if TYPE_CHECKING:
    from include.commands.survey import Survey

MIB = 2**20
MAX_RECORD_BYTES = 64 * MIB
# What a batch and a training begin with unless the data are few or many.
RECORDS, MOST_RECORDS = 1000, 10_000
BATCH_SIZE = 64
# The convnet halves an image at each stage, to about this many numbers a channel.
LAST_STAGE = 64


def pipeline_text(found: Survey, schema: str) -> str:
    """TOML with a comment beside what a person will want to change.

    Args:
        found: what the data are.
        schema: where the JSON Schema is, relative to the new file.

    Raises:
        NoPipelineFits: the images are too small for the network.
    """
    labels, samples = found.labels, found.samples
    largest_class = max(labels, key=lambda label: labels[label])
    most = labels[largest_class] / sum(labels.values())
    records = min(MOST_RECORDS, max(RECORDS, -(-samples // 10)))
    source = "\n".join(f"{key} = {_toml(value)}" for key, value in found.source.items())
    suited = _suited_to(found)
    return f"""\
#:schema {schema}
# Made by `millrace new-pipeline` from {samples:,} {found.noun}s of {len(labels)} classes; all may be changed.
# The name of this file is the pipeline's name, which its topics and its model have too.
description = {_toml(f"Which of {len(labels)} classes is this {found.noun} of?")}
tags = [{_toml(f"{found.noun}s")}]

[topics]
# As many tasks at most can predict at once. The number can't be changed once the topics are there.
partitions = 3
{_record_limit(found)}
[format]
{suited.sample_format}

[source]
{source}
{_group_hint(found.source["kind"])}

[ingest]
# When a batch is sent (cron), and how many samples at most it has; a run by hand sends the next batch at once.
schedule = "0 * * * *"
records = {records}
# The share that goes to the requests without labels, to be predicted. 0 where others send the requests.
requests_share = 0.1

[model]
{suited.model}

[training]
labels = {_toml(list(labels))}
epochs = 10
batch_size = {_batch_size(samples)}
learning_rate = {suited.learning_rate}
# The train DAG begins when so many samples are new.
min_new_samples = {max(1, min(RECORDS, samples // 2, records // 2))}
{suited.more_training}
[promotion]
# The least accuracy of a champion: more than the {most:.2f} of one that always answers {_toml(largest_class)}.
floor = {min(0.99, most + 0.05):.2f}
"""


def _setting(key: str, value: str | None, example: str) -> str:
    """The line of a setting, behind a mark of comment where it is not made."""
    return f"# {key} = {_toml(example)}" if value is None else f"{key} = {_toml(value)}"


@dataclass(frozen=True)
class _TomlTables:
    """What goes with the samples: the content of two tables, and of the training's more than the learning rate."""

    sample_format: str
    model: str
    learning_rate: float
    more_training: str = ""


def _suited_to(found: Survey) -> _TomlTables:
    codec = found.codec
    if isinstance(codec, ImageCodec):
        return _TomlTables(_image_format(codec), _image_model(codec), 0.001, IMAGE_TRAINING)
    if isinstance(codec, TextCodec):
        return _TomlTables(_text_format(codec, found.largest), TEXT_MODEL, 0.01)
    if isinstance(codec, AudioCodec):
        return _TomlTables(_sound_format(codec), _sound_model(codec), 0.005)
    raise NoPipelineFits(f"No bundled network takes samples of the format {codec.kind}: write the file by hand.")


IMAGE_TRAINING = """\
# Images are changed a little each time they are learnt from, in the ways of include/augmentations.
# [[training.augment]]
# kind = "image.flip"
"""


def _image_format(codec: ImageCodec) -> str:
    return f"""\
# Every sample has this size and these channels (1: gray, 3: RGB). For another size make another pipeline.
kind = {_toml(codec.kind)}
height = {codec.height}
width = {codec.width}
channels = {codec.channels}
# "crop" takes images of any size and cuts off what is too much, "pad" puts black beside them, "stretch" gives up their
# proportions; without it, an image of another size is refused.
{_setting("resize", codec.resize, "crop")}
# Takes images of any colours, on white where they are transparent; without it, other channels are refused.
{_setting("colours", codec.colours, "convert")}"""


def _image_model(codec: ImageCodec) -> str:
    return f"""\
# Output channels of each stage; a stage halves the image.
kind = "convnet"
channels = {_toml(_stages(codec.height, codec.width))}"""


def _text_format(codec: TextCodec, longest: int) -> str:
    return f"""\
# Bytes of UTF-8, of which a letter takes 1 to 4. The longest text now has {longest:,}; longer ones are left out.
kind = {_toml(codec.kind)}
length = {codec.length}"""


def _sound_format(codec: AudioCodec) -> str:
    spectrogram = codec.spectrogram
    return f"""\
# Every sample is mixed to one channel, resampled to this rate, and cut or padded at both ends to this length; with
# align = "start" behind its end.
kind = {_toml(codec.kind)}
sample_rate = {codec.sample_rate}
seconds = {codec.seconds}

[format.spectrogram]
# Windows of so many samples, one every `hop`; bands up to half the rate, or fmax.
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
# It looks at sequences of so many bytes. Each has one of the buckets: take more for many or long texts.
kind = "ngrams"
lengths = [1, 2, 3, 4]
buckets = 32768"""


def _record_limit(found: Survey) -> str:
    needed = found.largest + RECORD_OVERHEAD_BYTES + 4 * LONGEST_HEADER_BYTES
    if needed <= MIB:
        return ""
    # Room for those that are still to come.
    limit = min(MAX_RECORD_BYTES, -(-2 * needed // MIB) * MIB)
    return f"# The largest {found.noun} now has {found.largest:,} bytes.\nmax_record_bytes = {limit}\n"


def _group_hint(kind: str) -> str:
    what = "# What must not be on both sides of the held-out split, a person or a device: "
    if kind == "folder":
        return what + "a regular expression over the path.\n# group = '/(person[0-9]+)_'"
    return what + 'a column.\n# group = "person"'


def _stages(height: int, width: int) -> list[int]:
    """Output channels of the convnet's stages, two where the image's size does not ask for others."""
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
    """A power of two; of few samples an eighth, so that an epoch has several batches."""
    return max(2, min(BATCH_SIZE, 2 ** ((samples // 8).bit_length() - 1))) if samples >= 8 else 2


def _toml(value: Any) -> str:
    """A string, or a list of strings or numbers; TOML's strings are JSON's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
