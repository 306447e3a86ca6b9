"""A survey of a table of images, in or beside the rows, or with a number for each pixel."""

from include.codecs import image_format_of
from include.commands.image_format import format_of
from include.commands.pixel_table import survey_pixels
from include.commands.survey import Survey, form_of
from include.commands.table_survey import LabelledTable, stored_files


def survey_image_table(table: LabelledTable) -> Survey:
    """The rows of tables, with images in or beside them, or their pixels as numbers.

    Raises:
        NoPipelineFits: there are no images, classes or sizes for one pipeline.
        SourceRefused, SourceUnreachable: see `include.sources.table`, such as for a missing column.
    """
    if (pixels := survey_pixels(table)) is not None:
        return pixels
    source, samples = stored_files(table, "image", lambda content: bool(image_format_of(bytes(content))))
    faults = tuple(f"{sample.id}: {sample.fault}" for sample in samples if sample.fault)
    found = format_of(table.path, ((sample.id, sample.content) for sample in samples if not sample.fault))
    return Survey(
        noun="image",
        source=source,
        codec=found.codec,
        form=form_of(found.codec),
        largest=max(len(sample.content) for sample in samples),
        opened=len(samples),
        unfit=(*faults, *found.unfit),
        notes=(*table.notes, *found.notes),
        **table.counts,
    )
