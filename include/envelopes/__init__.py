"""Where a record has its content, id, group and label. A kind is one file; helpers are `_name.py`."""

from include.envelopes._fields import FieldName, text_field

__all__ = ["FieldName", "text_field"]
