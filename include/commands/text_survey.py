"""A survey of a folder of text files or a table with a column of text, for a new pipeline's file."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from include.codecs.utf8 import Utf8Codec
from include.commands.image_format import NoPipelineFits, counted
from include.commands.survey import (
    LOOKED_AT,
    Survey,
    class_folders,
    contents,
    existing,
    folder_of,
    spread_over_folders,
    suffix_of,
)
from include.commands.table_survey import LabelledTable
from include.sources.table import TableSource

SUFFIX = ".txt"
# Every sample of a batch takes this many numbers, so a longer format is the user's choice.
LONGEST = 4096
STEP = 64
ROWS_AT_ONCE = 1000


def survey_text_folder(path: str) -> Survey:
    """A folder with one folder of text files a class.

    Raises:
        NoPipelineFits: it is missing, or has no texts or classes to train on.
        SourceRefused, SourceUnreachable: see `include.sources._files`.
    """
    path = existing(path)
    source = folder_of(path)
    files = source.files()
    texts = sorted((file for file in files if suffix_of(file) == SUFFIX), key=lambda file: file.name)
    if not texts:
        raise NoPipelineFits(
            f"Folder {path} holds no {SUFFIX} file; its {len(files)} files are "
            f"{counted(suffix_of(file) or 'without ending' for file in files)}: correct --path, or rename the texts."
        )
    folders = class_folders(path, texts, "texts")
    texts = list(folders.files)
    return _survey(
        path,
        {"kind": "folder", "path": path, **folders.settings, "suffixes": [SUFFIX]},
        [file.size for file in texts],
        ((name, text, None) for name, text in contents(source, spread_over_folders(texts))),
        labels=folders.labels,
        notes=folders.notes,
        given_split=folders.given,
        left_out=dict(Counter(suffix_of(file) or "without ending" for file in files if suffix_of(file) != SUFFIX)),
    )


def survey_text_table(table: LabelledTable) -> Survey:
    """The rows of tables, with the text in a column.

    Raises:
        NoPipelineFits: there are no texts to train on.
        SourceRefused, SourceUnreachable: see `include.sources.table`, such as for a missing column.
    """
    settings = table.with_content(content=table.column, content_is="text")
    source = TableSource.model_validate(settings)
    return _survey(
        table.path,
        settings,
        [len(text) for _, text in _rows(source)],
        ((sample.id, bytes(sample.content), sample.fault) for sample in source.open().spread(LOOKED_AT)),
        notes=table.notes,
        **table.counts,
    )


def _rows(source: TableSource) -> Iterator[tuple[str, bytes]]:
    source, done = source.open(), 0
    while samples := source.read(done, ROWS_AT_ONCE):
        done += len(samples)
        yield from ((sample.id, bytes(sample.content)) for sample in samples)


def _survey(
    path: str,
    source: dict[str, Any],
    lengths: Sequence[int],
    texts: Iterable[tuple[str, bytes, str | None]],
    **counts: Any,
) -> Survey:
    codec = Utf8Codec(length=_length(lengths))
    opened, unfit = 0, []
    for name, text, fault in texts:
        opened += 1
        faults = [fault] if fault else [refusal.error for refusal in codec.decode([text]).refusals.values()]
        unfit += [f"{name}: {error}" for error in faults]
    if len(unfit) == opened:
        raise NoPipelineFits(
            f"None of the {opened} texts in {path} that were opened is valid, "
            f"{unfit[0].rstrip('.')}: convert them to UTF-8, or name what holds them."
        )
    longer = sum(length > codec.length for length in lengths)
    return Survey(
        noun="text",
        source=source,
        codec=codec,
        form=f"at most {codec.length:,} bytes" + (f", and {longer:,} are longer" if longer else ""),
        largest=max(lengths),
        opened=opened,
        unfit=tuple(unfit),
        **counts,
    )


def _length(lengths: Sequence[int]) -> int:
    """A length for all texts and a little more, or for 99 % of them if some are very long."""
    longest = max(lengths)
    if longest > LONGEST:
        longest = max(LONGEST, sorted(lengths)[len(lengths) * 99 // 100])
    return -(-longest * 5 // (4 * STEP)) * STEP or STEP
