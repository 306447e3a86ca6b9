"""The text of a new pipeline's file, from a survey of its data."""

import json
from dataclasses import dataclass
from textwrap import indent
from typing import Any

from include.codecs import AudioCodec, ImageCodec, TextCodec
from include.codecs.raw import RawCodec
from include.codecs.row import RowCodec
from include.commands.image_format import NoPipelineFits
from include.commands.survey import Survey
from include.commands.training_length import batch_size, epochs, window
from include.ingest.chunk import is_request
from include.kafka.headers import MAX_HEADER_BYTES
from include.kafka.records import RECORD_OVERHEAD_BYTES
from include.targets.multi_label import MultiLabel

MIB = 2**20
MAX_RECORD_BYTES = 64 * MIB
# Records of a batch.
MIN_FIRST_BATCH, MAX_FIRST_BATCH = 1000, 10_000
REQUESTS_SHARE, MAX_REQUESTS_SHARE = 0.1, 0.5
# The convnet halves an image at each stage, down to about this many pixels a channel.
LAST_STAGE = 64
# Images are shifted by up to a 14th of their shorter side while training: 2 pixels of 28.
SHIFT_SHARE = 14
# The floor of a regression.
LEAST_R2 = 0.05
# A spectrogram of more frames is halved in the first convolution.
MANY_FRAMES = 64


def pipeline_text(found: Survey, schema: str) -> str:
    """TOML with comments on the settings that a person will want to change.

    Args:
        found: the survey.
        schema: where the JSON Schema is, relative to the new file.

    Raises:
        NoPipelineFits: the images are too small for the network.
    """
    samples, labelled = found.samples, found.samples - found.unlabelled
    records = records_of(samples)
    source = "\n".join(f"{key} = {_toml(value)}" for key, value in found.source.items())
    suited = _suited_to(found)
    return f"""\
#:schema {schema}
# Made by `millrace new-pipeline` from {samples:,} {found.noun}s of {found.kinds_of_labels}; edit it as you like.
# The name of this file is the pipeline's name, and part of the names of its topics and its model.
description = {_toml(_question(found))}
tags = [{_toml(f"{found.noun}s")}]

[topics]
# The most tasks that can predict at once. It can't be changed once the topics exist.
partitions = 3
{_record_limit(found)}
[format]
{suited.sample_format}

[source]
{source}
{_group_hint(found)}

[ingest]
# When a batch is sent (cron), and its largest number of samples; a manual run sends the next batch at once.
schedule = "0 * * * *"
records = {records}
# The share of samples that is sent as requests, without labels. Set 0 if other programs send the requests.
requests_share = {_requests_share(found)}
{_requests_by(found)}
[model]
{suited.model}

[training]
{_labels(found)}
epochs = {suited.epochs or epochs(samples)}
batch_size = {batch_size(samples)}
learning_rate = {suited.learning_rate}
{_window(found)}# The train DAG starts when there are so many new samples.
min_new_samples = {max(1, min(MIN_FIRST_BATCH, labelled // 2, records * labelled // samples // 2))}
{_split(found)}{suited.more_training}
[promotion]
{_floor(found)}
"""


def _question(found: Survey) -> str:
    if found.numbers is not None:
        return f"What is the {found.numbers.column} of this {found.noun}?"
    if found.labelled is not None:
        return f"Which of {len(found.labels)} labels has this {found.noun}?"
    return f"Which of {len(found.labels)} classes is this {found.noun} of?"


def _labels(found: Survey) -> str:
    if found.numbers is not None:
        return f"""\
# The label is a number, and this is its name in the predictions.
task = "regression"
labels = {_toml([found.numbers.column])}"""
    several = "" if found.labelled is None else 'task = "multi-label"\n'
    return f"{several}labels = {_toml(list(found.labels))}"


def _floor(found: Survey) -> str:
    if found.numbers is not None:
        return f"""\
# The lowest R2 of a champion: 1 is perfect, and 0 as good as always answering the mean.
floor = {LEAST_R2}"""
    if found.labelled is not None:
        constant = MultiLabel((*found.labels,), ",").constant_score([*found.labels.values()], found.labelled)
        return f"""\
# The lowest micro-F1 of a champion, above the {constant:.2f} of a model that always answers the most frequent labels.
floor = {min(0.99, constant + 0.05):.2f}"""
    largest = max(found.labels, key=lambda label: found.labels[label])
    most = found.labels[largest] / sum(found.labels.values())
    return f"""\
# The lowest accuracy of a champion, above the {most:.2f} of a model that always answers {_toml(largest)}.
floor = {min(0.99, most + 0.05):.2f}"""


def _split(found: Survey) -> str:
    if not found.given_split:
        return ""
    return '# "given" holds out the samples of val and test folders; "hash" a share of all.\nsplit = "given"\n'


def _window(found: Survey) -> str:
    # A table's rows are sent in their order, which a small window would not mix.
    size = window(found.samples, found.largest) if found.source["kind"] == "folder" else None
    if size is None:
        return ""
    return f"# Samples that are shuffled together; twice as many are in memory, as encoded.\nwindow = {size}\n"


def records_of(samples: int) -> int:
    """The size of a batch: all samples, `MAX_FIRST_BATCH` at most, so that the first model sees them."""
    return min(MAX_FIRST_BATCH, max(MIN_FIRST_BATCH, samples))


def _setting(key: str, value: str | None, example: str) -> str:
    """The line of a setting, or a comment with an example if it has no value."""
    return f"# {key} = {_toml(example)}" if value is None else f"{key} = {_toml(value)}"


@dataclass(frozen=True)
class _TomlTables:
    """The settings for the samples' format: the content of two tables, and settings of the training.

    Attributes:
        epochs: None for a number that suits the number of samples.
    """

    sample_format: str
    model: str
    learning_rate: float
    more_training: str = ""
    epochs: int | None = None


def _suited_to(found: Survey) -> _TomlTables:
    codec = found.codec
    if isinstance(codec, ImageCodec):
        height, width = codec.height, codec.width
        training = _image_training(height, width, shift=found.numbers is None)
        return _TomlTables(_image_format(codec), _image_model(height, width), 0.003, training)
    if isinstance(codec, RawCodec):
        _, height, width = codec.input_shape
        return _TomlTables(_array_format(codec), _image_model(height, width), 0.003)
    if isinstance(codec, TextCodec):
        text = _text_format(codec, found.largest)
        if found.numbers is None and found.labelled is None and len(found.labels) <= MOST_LINEAR_LABELS:
            return _TomlTables(text, LINEAR_TEXT_MODEL, 0.2, LINEAR_TEXT_TRAINING)
        return _TomlTables(text, TEXT_MODEL, 0.01)
    if isinstance(codec, AudioCodec):
        return _TomlTables(_sound_format(codec), _sound_model(codec), 0.005)
    if isinstance(codec, RowCodec):
        return _TomlTables(_row_format(codec), ROW_MODEL, 0.005, ROW_TRAINING, epochs=20)
    raise NoPipelineFits(f"No bundled network takes samples of the format {codec.kind}: write the file by hand.")


def _image_training(height: int, width: int, *, shift: bool) -> str:
    table = f"""\
[[training.augment]]
kind = "image.shift"
pixels = {max(1, min(height, width) // SHIFT_SHARE)}
"""
    return f"""\
# Augmentations change each image at random while training; include/augmentations has the kinds. A class stays the same
# where the image is moved a little.
{table if shift else indent(table, "# ")}"""


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
{_setting("colours", codec.colours, "convert")}{_bits(codec)}"""


def _bits(codec: ImageCodec) -> str:
    if codec.bits is None:
        return ""
    return f"""
# In 16-bit images the values 0 to {2**codec.bits - 1} become 0 to 255, and an image with larger ones is refused.
bits = {codec.bits}"""


def _array_format(codec: RawCodec) -> str:
    last = "\nchannels_last = true" if codec.channels_last else ""
    return f"""\
# Arrays of one shape and dtype. Inputs of the network are the numbers times `scale`.
kind = {_toml(codec.kind)}
shape = {_toml(list(codec.shape))}
dtype = {_toml(codec.dtype)}
scale = {_toml(codec.scale)}{last}"""


def _image_model(height: int, width: int) -> str:
    return f"""\
# Output channels of each stage; a stage halves the image.
kind = "convnet"
channels = {_toml(_stages(height, width))}"""


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
    _, bands, frames = codec.input_shape
    return f"""\
# Output channels of each stage; a stage halves bands and times. With stride = 2 the first has a quarter of the work.
kind = "spectrogram"
channels = {_toml([16, 32, 64, 64] if bands >= 16 else [16, 32, 64])}
stride = {1 if frames <= MANY_FRAMES else 2}"""


ROW_MODEL = """\
# A vector of `dimensions` for each category, beside the numbers, then layers of these sizes.
kind = "rows"
dimensions = 8
hidden = [64, 64]"""

ROW_TRAINING = """\
# More threads only wait for each other in a small network.
threads = 1
"""


def _row_format(codec: RowCodec) -> str:
    return f"""\
# Columns of numbers, which are standardised by the training samples, and of categories.
kind = {_toml(codec.kind)}
numbers = {_toml(list(codec.numbers))}
categories = {_toml(list(codec.categories))}
# "refuse" leaves out a row without a value in one of these columns; "mark" takes it, and marks what is missing.
missing = {_toml(codec.missing)}
{_missing_texts(codec)}"""


def _missing_texts(codec: RowCodec) -> str:
    what = "# Texts that stand for a missing value, beside null and the empty text.\n"
    return (
        what + ("" if codec.missing_texts else "# ") + f"missing_texts = {_toml(list(codec.missing_texts) or ['NA'])}"
    )


# With more labels, the numbers of each n-gram take more memory than a vector.
MOST_LINEAR_LABELS = 100

LINEAR_TEXT_MODEL = """\
# Features are byte sequences of these lengths, hashed into buckets: use more for many or long texts.
kind = "tfidf"
lengths = [1, 2, 3, 4, 5]
buckets = 262144"""

LINEAR_TEXT_TRAINING = """\
# Gradient descent learns less from rare features than from frequent ones; AdamW learns single texts by heart here.
optimizer = "sgd"
weight_decay = 0
"""

TEXT_MODEL = """\
# Features are byte sequences of these lengths, hashed into buckets: use more for many or long texts.
kind = "ngrams"
lengths = [1, 2, 3, 4, 5]
buckets = 131072
dimensions = 16"""


def _record_limit(found: Survey) -> str:
    needed = found.largest + RECORD_OVERHEAD_BYTES + 4 * MAX_HEADER_BYTES
    if needed <= MIB:
        return ""
    # Twice the size, for larger samples later.
    limit = min(MAX_RECORD_BYTES, -(-2 * needed // MIB) * MIB)
    return f"# The largest {found.noun} now has {found.largest:,} bytes.\nmax_record_bytes = {limit}\n"


def _group_hint(found: Survey) -> str:
    """A comment on groups, with an example where the source has none."""
    what = "# Samples of one group stay on one side of the held-out split, of a person or a device for example: "
    if found.source["kind"] == "folder":
        return what + "a regular expression over the path.\n# group = '/(person[0-9]+)_'"
    if found.group is not None:
        return f"# {found.group.name} has {len(found.group.rows_of):,} values."
    return what + f"a column.\n# group = {_toml(found.group_hint or 'person')}"


def _requests_share(found: Survey) -> float:
    """A tenth, or as much more as it takes to draw one group."""
    share = REQUESTS_SHARE
    groups = found.group.rows_of if found.group is not None else {}
    while groups and share < MAX_REQUESTS_SHARE and not any(is_request(name, share) for name in groups):
        share = round(share + 0.05, 2)
    return share


def _requests_by(found: Survey) -> str:
    if found.group is None:
        return ""
    return (
        '# "group": all labelled samples of a group are requests or none is, so that predictions are as good as the\n'
        '# held-out figures say. "id" draws each sample by itself.\nrequests_by = "group"\n'
    )


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


def _toml(value: Any) -> str:
    """A string, or a list of strings or numbers, as TOML: like JSON, except for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
