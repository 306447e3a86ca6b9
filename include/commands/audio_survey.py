"""A survey of a folder of sounds, for a new pipeline's file."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from include.codecs import AudioCodec, LogMel
from include.commands.image_format import NoPipelineFits, counted
from include.commands.survey import Survey, class_folders, contents, existing, folder_of, spread_over_folders, suffix_of
from include.commands.table_survey import LabelledTable, stored_files
from include.definition.kinds import KINDS
from include.sources import File

KIND_OF = {
    ".wav": "audio.wav",
    ".wave": "audio.wav",
    ".flac": "audio.flac",
    ".ogg": "audio.ogg",
    ".oga": "audio.ogg",
    ".opus": "audio.ogg",
    ".mp3": "audio.mp3",
}
# Most of what distinguishes sounds is below half of this rate, in Hz.
HIGHEST_RATE = 22_050
SHORTEST_S, MAX_LINGER_TOTAL_S = 0.1, 10.0
# About the length of a spectrogram window. Each begins half a window after the last, unless that would make fewer
# windows than these, or more.
WINDOW_S = 0.05
LEAST_FRAMES, MANY_FRAMES = 16, 128
BANDS = (32, 24, 16, 8)


@dataclass
class _SoundStatistics:
    """Statistics of the opened sounds."""

    rates: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)

    @property
    def form(self) -> str:
        rates = counted(f"{rate:,} Hz" for rate in self.rates.elements())
        return f"{min(self.seconds):.2f} to {max(self.seconds):.2f} s long, {rates}"


def survey_sound_folder(path: str) -> Survey:
    """A folder with one folder of sounds a class.

    Raises:
        NoPipelineFits: it is missing, or has no sounds or classes for one pipeline.
        SourceRefused, SourceUnreachable: see `include.sources._files`.
    """
    path = existing(path)
    source = folder_of(path)
    files = source.files()
    kind, sounds = _of_one_format(path, files)
    folders = class_folders(path, sounds, "sounds")
    sounds = list(folders.files)
    suffixes = sorted({suffix_of(file) for file in sounds})
    opened = spread_over_folders(sounds)
    heard = _listen(kind, contents(source, opened))
    if not heard.seconds:
        raise NoPipelineFits(
            f"None of the {len(opened)} sounds in {path} that were opened is valid, {heard.unfit[0].rstrip('.')}: "
            "listen to them, or correct --path."
        )
    return Survey(
        noun="sound",
        source={"kind": "folder", "path": path, **folders.settings, "suffixes": suffixes},
        notes=folders.notes,
        given_split=folders.given,
        codec=_suited_to(kind, heard),
        form=heard.form,
        labels=folders.labels,
        largest=max(file.size for file in sounds),
        opened=len(opened),
        unfit=tuple(heard.unfit),
        left_out=dict(
            Counter(suffix_of(file) or "without ending" for file in files if suffix_of(file) not in suffixes)
        ),
    )


def survey_sound_table(table: LabelledTable) -> Survey:
    """The rows of tables, with sounds in or beside them.

    Raises:
        NoPipelineFits: there are no sounds for one pipeline.
        SourceRefused, SourceUnreachable: see `include.sources.table`, such as for a missing column.
    """
    source, samples = stored_files(table, "sound", lambda content: _kind_of(content) is not None)
    kind = next(kind for sample in samples if (kind := _kind_of(sample.content)))
    heard = _listen(kind, ((sample.id, bytes(sample.content)) for sample in samples if not sample.fault))
    faults = tuple(f"{sample.id}: {sample.fault}" for sample in samples if sample.fault)
    return Survey(
        noun="sound",
        source=source,
        codec=_suited_to(kind, heard),
        form=heard.form,
        largest=max(len(sample.content) for sample in samples),
        opened=len(samples),
        unfit=(*faults, *heard.unfit),
        notes=table.notes,
        **table.counts,
    )


def _kind_of(content: Any) -> type[AudioCodec] | None:
    """The format of a file by its content; None if no format decodes it."""
    kinds = [KINDS["format"][name] for name in sorted(set(KIND_OF.values()))] if content else []
    return next((kind for kind in kinds if not _reader(kind).decode([content]).refusals), None)


def _reader(kind: type[AudioCodec]) -> AudioCodec:
    # A sound's first bytes show its format.
    return kind.model_validate({"sample_rate": HIGHEST_RATE, "samples": 1, "align": "start"})


def _of_one_format(path: str, files: Iterable[File]) -> tuple[type[AudioCodec], list[File]]:
    sounds: dict[str, list[File]] = {}
    for file in files:
        if kind := KIND_OF.get(suffix_of(file)):
            sounds.setdefault(kind, []).append(file)
    endings = counted(suffix_of(file) or "without ending" for file in files)
    if not sounds:
        raise NoPipelineFits(
            f"Folder {path} holds no {', '.join(KIND_OF)} file, its files are {endings or 'none'}: correct --path, or "
            "convert them."
        )
    if len(sounds) > 1:
        raise NoPipelineFits(
            f"Folder {path} holds sounds of several formats, {endings}, and a pipeline has one: convert the others, or "
            "give each format a folder and a pipeline of its own."
        )
    ((kind, found),) = sounds.items()
    return KINDS["format"][kind], found


def _listen(kind: type[AudioCodec], sounds: Iterable[tuple[str, bytes]]) -> _SoundStatistics:
    codec = _reader(kind)
    heard = _SoundStatistics()
    for name, content in sounds:
        if refusals := codec.decode([content]).refusals:
            heard.unfit.append(f"{name}: {refusals[0].error}")
            continue
        extent = codec.extent(content)
        heard.rates[extent.rate] += 1
        heard.seconds.append(extent.seconds)
    return heard


def _suited_to(kind: type[AudioCodec], heard: _SoundStatistics) -> AudioCodec:
    """The most common rate, and a length that holds 95 % of the sounds."""
    rate = min(HIGHEST_RATE, heard.rates.most_common(1)[0][0])
    enough = sorted(heard.seconds)[len(heard.seconds) * 95 // 100]
    seconds = min(MAX_LINGER_TOTAL_S, max(SHORTEST_S, math.ceil(round(10 * enough, 3)) / 10))
    n_fft = max(16, 2 ** (int(rate * WINDOW_S).bit_length() - 1))
    hop = _hop(round(seconds * rate), n_fft)
    settings: dict[str, Any] = {"sample_rate": rate, "seconds": seconds}
    for bands in BANDS:
        spectrogram = LogMel(n_fft=n_fft, hop=hop, n_mels=bands)
        try:
            return kind.model_validate({**settings, "spectrogram": spectrogram.model_dump(exclude_none=True)})
        except ValueError:
            continue
    raise NoPipelineFits(
        f"Sounds of {rate} samples a second are too coarse for a spectrogram of {BANDS[-1]} bands: write the file by "
        "hand, with a network of your own."
    )


def _hop(samples: int, n_fft: int) -> int:
    if samples > MANY_FRAMES * n_fft // 2:
        return min(n_fft, samples // MANY_FRAMES)
    return max(1, min(n_fft // 2, samples // LEAST_FRAMES))
