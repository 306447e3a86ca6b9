"""Sources of samples. A kind is one file; helpers are `_name.py`, with their public names here."""

from include.sources._files import FileSource
from include.sources._listing import File
from include.sources._sent_files import Step

__all__ = ["File", "FileSource", "Step"]
